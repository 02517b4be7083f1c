"""The data sets OpenAU can read, by the name users type."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import MappingProxyType

from openau.datasets.clips import DataSetReader
from openau.errors import UsageError

_MODULES: Mapping[str, str] = MappingProxyType(
    {
        "bp4d": "bp4d",
        "bp4d+": "bp4d_plus",
        "disfa": "disfa",
        "disfa+": "disfa_plus",
        "casme2": "casme2",
        "samm": "samm",
        "gft": "gft",
        "unbc": "unbc",
        "ck+": "ck_plus",
        "folder": "folder",
    }
)

NAMES: tuple[str, ...] = tuple(_MODULES)


def reader(name: str) -> DataSetReader:
    """The reader of a data set; its module is imported only now.

    Raises:
        UsageError: there is no data set of this name.
    """
    if name not in _MODULES:
        raise UsageError(f"no data set is called {name!r}; there are {', '.join(NAMES)}")
    found: DataSetReader = importlib.import_module(f"openau.datasets.{_MODULES[name]}").READER
    return found
