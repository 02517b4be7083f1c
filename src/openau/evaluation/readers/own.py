"""OpenAU's own tables (docs/columns.md): CSV, Parquet or JSON Lines, for one or many inputs.

    source, frame, timestamp, face_id, score, x, y, width, height, pitch, yaw, roll, AU01 …, AU01_i …

`frame` counts from 0; a frame without a face has no `face_id`. `--format openface` is read as OpenFace's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from openau.evaluation.predictions import PICTURE, ToolPredictions
from openau.evaluation.readers.columns import Columns, Header, is_picture
from openau.facs import parse_column

NAME = "OpenAU"


def recognises(header: Header) -> bool:
    """AUs as `AU12`, and the columns that every table of ours begins with."""
    return {"source", "frame", "timestamp", "face_id"} <= set(header) and bool(_columns(header, None))


def read(path: Path, header: Header, source: str) -> ToolPredictions:
    """Read one table.

    Raises:
        InputError: a cell is no number, or out of its range.
    """
    aus, graded = _columns(header, None), _columns(header, "i")
    about = ("frame", "face_id", "score", "width", "height")
    table = Columns(path, header, [*about, *aus.values(), *graded.values()], ["source"])
    sources, face = table.text("source"), table.number("face_id")
    pictures = np.array([is_picture(name) for name in sources.tolist()], np.bool_)
    probability = table.within(list(aus.values()), 0, 1)
    return ToolPredictions(
        tool=NAME,
        source=sources,
        frame=np.where(pictures, PICTURE, table.whole("frame", 0)),
        found=~np.isnan(face),
        person=np.where(np.isnan(face) | pictures, "", np.nan_to_num(face).astype(np.int64).astype(np.str_)),
        area=(table.number("width") * table.number("height")).astype(np.float32),
        confidence=table.number("score").astype(np.float32),
        aus=tuple(aus),
        probability=probability,
        decision=np.full_like(probability, np.nan),
        intensity_aus=tuple(graded),
        intensity=table.clipped(list(graded.values()), 0, 5),
        named_inside=True,
    )


def _columns(header: Header, kind: str | None) -> dict[int, str]:
    """AU → its column of a kind (None: occurrence, "i": intensity)."""
    parsed = ((name, parse_column(name)) for name in header)
    return {found[0]: name for name, found in parsed if found is not None and found[1] == kind}
