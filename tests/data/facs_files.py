"""The text files of CK+ and UNBC-McMaster: `AU intensity …` in floating point."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def write(path: Path, codes: Sequence[tuple[float, ...]]) -> Path:
    """One line per AU, as MATLAB writes numbers."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join("   ".join(["", *(f"{number:.7e}" for number in line)]) + "\n" for line in codes))
    return path
