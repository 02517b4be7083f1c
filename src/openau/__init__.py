"""OpenAU: facial Action Units from photos, video and webcam.

    >>> import openau
    >>> faces = openau.Detector().detect("photo.jpg")      # doctest: +SKIP
    >>> faces.to_pandas()[["AU06", "AU12"]]                # doctest: +SKIP

Importing this package is cheap: it never imports torch, and everything heavy is loaded on first use.
"""

from __future__ import annotations

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from openau.result import Faces
    from openau.runtime import Detector

# Official builds of ONNX Runtime report to their maker unless this is set before they are loaded.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.1.0"
__all__ = ["Detector", "Faces", "__version__"]

_LAZY = {"Detector": "openau.runtime", "Faces": "openau.result"}


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name]), name)
    raise AttributeError(f"module 'openau' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
