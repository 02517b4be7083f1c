"""LibreFace (Chang et al. 2024): one CSV per recording or picture.

    recording    frame_idx, frame_time_in_ms, pitch, yaw, roll, lm_mp_0_x …, au_1 …, au_1_intensity …, facial_expression
    picture      the same without frame_idx and frame_time_in_ms; early versions write input_image_path

- `au_1` is the presence 0 or 1 of BP4D's 12 AUs, `au_1_intensity` an intensity 0–5 of DISFA's 12; seven AUs have both.
- `frame_idx` counts from 0. (`frame_time_in_ms` held seconds in some versions; it is not used.)
- One face per frame; no box, no confidence. A frame without a face stops the program, so missed faces are missing rows or files.

Verified: names in the package's `__init__.py`, `AU_Detection/inference.py`, `AU_Recognition/inference.py` and `utils.py`, and in its page
on PyPI, section "Output Format" (0.0.x to 1.0; version 2's page adds gaze). Not verified on a run of the program.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from openau.evaluation.predictions import PICTURE, ToolPredictions
from openau.evaluation.readers.columns import Columns, Header
from openau.facs import AUS

NAME = "LibreFace"

_AU = re.compile(r"au_(\d+)(_intensity)?")
_PICTURE = "input_image_path"


def recognises(header: Header) -> bool:
    """AUs as `au_12` or `au_12_intensity`."""
    return any(map(_AU.fullmatch, header))


def read(path: Path, header: Header, source: str) -> ToolPredictions:
    """Read one CSV.

    Raises:
        InputError: a cell is no number, or out of its range.
    """
    columns = {(bool(found[2]), int(found[1])): name for name in header if (found := _AU.fullmatch(name))}
    decided = sorted(number for is_intensity, number in columns if not is_intensity and number in AUS)
    graded = sorted(number for is_intensity, number in columns if is_intensity and number in AUS)
    presence = [columns[False, number] for number in decided]
    intensity = [columns[True, number] for number in graded]
    table = Columns(path, header, ["frame_idx", *presence, *intensity], [_PICTURE])
    count, named = len(table), _PICTURE in header
    decision, grade = table.within(presence, 0, 1), table.clipped(intensity, 0, 5)
    return ToolPredictions(
        tool=NAME,
        source=table.text(_PICTURE) if named else np.full(count, source),
        frame=table.whole("frame_idx", 0) if "frame_idx" in header else np.full(count, PICTURE, np.int64),
        found=~np.isnan(np.concatenate([decision, grade], axis=1)).all(axis=1),
        person=np.full(count, ""),
        area=np.full(count, np.nan, np.float32),
        confidence=np.full(count, np.nan, np.float32),
        aus=tuple(decided),
        probability=np.full((count, len(decided)), np.nan, np.float32),
        decision=decision,
        intensity_aus=tuple(graded),
        intensity=grade,
        named_inside=named,
    )
