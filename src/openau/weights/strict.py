"""Strict reading of cards: a key too many, one missing, a wrong type is an error that names the place.

What is wrong is a `ValueError`; `document` turns it into the sentence for people.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from openau.errors import WeightsError

T = TypeVar("T")


def document(text: str, where: str | Path, kind: str, decode: Callable[[Any], T]) -> T:
    """What `decode` makes of a JSON text.

    Args:
        text: the text.
        where: the file it came from, for the error's sentence.
        kind: what it should be, likewise.
        decode: JSON value → result; raises ValueError where something is wrong.

    Raises:
        WeightsError: the text is not JSON, or `decode` refuses it.
    """
    try:
        return decode(json.loads(text, parse_constant=_no_constant, object_pairs_hook=_unique_keys))
    except (ValueError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{where}: not a valid {kind}: {error}") from None


def read(file: Path, kind: str) -> str:
    """The text of a card's file.

    Raises:
        WeightsError: it cannot be read or is not UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8")
    except OSError as error:
        raise WeightsError(f"{file}: cannot read the {kind}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise WeightsError(f"{file}: not a valid {kind}: it is not UTF-8 text") from None


def require(condition: bool, otherwise: str) -> None:
    """Raise a ValueError with this sentence unless the condition holds."""
    if not condition:
        raise ValueError(otherwise)


def mapping(value: Any, where: str) -> dict[str, Any]:
    """A JSON object."""
    require(isinstance(value, dict), f"{where} must be an object")
    return dict(value)


def fields(value: Any, where: str, keys: Any) -> dict[str, Any]:
    """A JSON object with exactly these keys."""
    found = mapping(value, where)
    unknown, missing = sorted(set(found) - set(keys)), sorted(set(keys) - set(found))
    require(not unknown, f"{where} has the unknown key {', '.join(map(repr, unknown))}")
    require(not missing, f"{where} lacks the key {', '.join(map(repr, missing))}")
    return found


def text(value: Any, where: str) -> str:
    """A string."""
    require(isinstance(value, str), f"{where} must be text")
    return str(value)


def integer(value: Any, where: str) -> int:
    """A whole number; true and false are none."""
    require(isinstance(value, int) and not isinstance(value, bool), f"{where} must be a whole number")
    return int(value)


def number(value: Any, where: str) -> float:
    """A number."""
    require(isinstance(value, int | float) and not isinstance(value, bool), f"{where} must be a number")
    return float(value)


def integers(value: Any, where: str) -> tuple[int, ...]:
    """A list of whole numbers."""
    require(isinstance(value, list), f"{where} must be a list")
    return tuple(integer(item, where) for item in value)


def _no_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number")


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    keys = [key for key, _ in pairs]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    require(not twice, f"the key {', '.join(map(repr, twice))} appears twice")
    return dict(pairs)
