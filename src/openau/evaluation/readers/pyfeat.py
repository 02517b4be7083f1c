"""Py-Feat (Cheong et al. 2023): a Fex table written with `to_csv`, for one or many inputs.

    …, FaceRectX, FaceRectY, FaceRectWidth, FaceRectHeight, FaceScore, …, AU01 …, input, frame, …

- `AU01` is a probability 0–1, or 0 and 1 from its SVM. 12 to 20 AUs in 0.x, 24 in 2.x (with AU16, AU18, AU27 and AU45 beside AU43).
- `input` is the path of the video or picture. `frame` counts a video's frames from 0 (with `skip_frames` only some have rows) and, for
  pictures, the pictures: it is not used for them.
- A row per face. Versions since 0.6 name people in `Identity` ("Person_0").
- Where no face was found the face box is empty, and so are the AUs; some versions of 2.x filled the AUs with what the network makes of a
  black picture, so the box decides.

Verified: names in `detector.py`, `detector_v2.py`, `multitask/model_v2.py` and in an output (0.3) that the repository holds. Not verified
on a run of the program.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from openau.evaluation.predictions import PICTURE, ToolPredictions
from openau.evaluation.readers.columns import Columns, Header, is_picture
from openau.facs import parse_column

NAME = "Py-Feat"

_BOX = ("FaceRectX", "FaceRectY", "FaceRectWidth", "FaceRectHeight")


def recognises(header: Header) -> bool:
    """AUs as `AU12`, and Py-Feat's face box."""
    return "FaceRectWidth" in header and bool(_aus(header))


def read(path: Path, header: Header, source: str) -> ToolPredictions:
    """Read one CSV.

    Raises:
        InputError: a cell is no number, a probability is not within 0–1, or rows about a video have no frame.
    """
    aus = _aus(header)
    table = Columns(path, header, ["frame", "FaceScore", *_BOX, *aus.values()], ["input", "Identity"])
    count, named = len(table), "input" in header
    inputs = table.text("input") if named else np.full(count, source)
    pictures = np.array([is_picture(name) for name in inputs.tolist()], np.bool_)
    frame = np.full(count, PICTURE, np.int64)
    if not pictures.all():
        frame = np.where(pictures, PICTURE, table.whole("frame", 0))
    box = table.matrix(_BOX)
    probability = table.within(list(aus.values()), 0, 1)
    found = np.asarray(~np.isnan(box).any(axis=1) & ~np.isnan(probability).all(axis=1), np.bool_)
    return ToolPredictions(
        tool=NAME,
        source=inputs,
        frame=frame,
        found=found,
        person=table.text("Identity"),
        area=box[:, 2] * box[:, 3],
        confidence=table.number("FaceScore").astype(np.float32),
        aus=tuple(aus),
        probability=probability,
        decision=np.full_like(probability, np.nan),
        intensity_aus=(),
        intensity=np.zeros((count, 0), np.float32),
        named_inside=named,
    )


def _aus(header: Header) -> dict[int, str]:
    """AU → its column."""
    parsed = ((name, parse_column(name)) for name in header)
    return {found[0]: name for name, found in parsed if found is not None and found[1] is None}
