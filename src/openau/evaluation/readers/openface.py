"""OpenFace 2 (Baltrušaitis et al. 2018): one CSV per recording or picture.

    FeatureExtraction, FaceLandmarkVidMulti    frame, face_id, timestamp, confidence, success, …, AU01_r …, AU01_c …
    FaceLandmarkImg                            face, confidence, …, AU01_r …, AU01_c …

- Names follow commas with a blank in OpenFace's own files; both are read. Before 2.0 there is no `face_id`.
- `AU01_r` is an intensity 0–5 (17 AUs), `AU01_c` the presence 0 or 1 (the same 17 and AU28). They come from two models trained apart and
  may disagree.
- `frame` counts from 1. AU45 is OpenFace's blink; it is judged against AU45 labels only.
- `success` 0: tracking failed. AUs are written nevertheless, estimated from wherever the landmarks were lost, so such rows count as missed.
- FaceLandmarkImg writes a row per face, and for a picture without a face a table without rows.
- FaceLandmarkVidMulti's `face_id` follows a face.

Verified: names, order and blanks in `RecorderCSV.cpp` (2.x) and the wiki's page "Output Format"; frames from 1 in a published file; AUs of
failed frames in issue #425, tables without rows in issue #790. Not verified on a run of the program.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from openau.evaluation.predictions import PICTURE, Texts, ToolPredictions, no_face
from openau.evaluation.readers.columns import Columns, Header
from openau.facs import AUS

NAME = "OpenFace 2"

_FIRST_FRAME = 1
_AU = re.compile(r"AU(\d\d)_([rc])")


def recognises(header: Header) -> bool:
    """AUs as `AU12_r` or `AU12_c`, and the columns both programs begin with."""
    return "confidence" in header and bool({"frame", "face"} & set(header)) and any(map(_AU.fullmatch, header))


def read(path: Path, header: Header, source: str) -> ToolPredictions:
    """Read one CSV.

    Raises:
        InputError: a cell is no number, or out of its range.
    """
    columns = {(found[2], int(found[1])): name for name in header if (found := _AU.fullmatch(name))}
    decided = sorted(number for kind, number in columns if kind == "c" and number in AUS)
    graded = sorted(number for kind, number in columns if kind == "r" and number in AUS)
    presence = [columns["c", number] for number in decided]
    intensity = [columns["r", number] for number in graded]
    about = ("frame", "face_id", "confidence", "success")
    table = Columns(path, header, [*about, *presence, *intensity])
    count, in_recording = len(table), "frame" in header
    if not count and not in_recording:
        return no_face(NAME, source, tuple(decided), tuple(graded))
    return ToolPredictions(
        tool=NAME,
        source=np.full(count, source),
        frame=table.whole("frame", 1) - _FIRST_FRAME if in_recording else np.full(count, PICTURE, np.int64),
        found=table.number("success") == 1 if "success" in header else np.ones(count, np.bool_),
        person=_tracks(table) if in_recording else np.full(count, ""),
        area=np.full(count, np.nan, np.float32),
        confidence=table.number("confidence").astype(np.float32),
        aus=tuple(decided),
        probability=np.full((count, len(decided)), np.nan, np.float32),
        decision=table.within(presence, 0, 1),
        intensity_aus=tuple(graded),
        intensity=table.clipped(intensity, 0, 5),
        named_inside=False,
    )


def _tracks(table: Columns) -> Texts:
    """The face's number as text; "" where it is not told."""
    number = table.number("face_id")
    return np.where(np.isnan(number), "", np.nan_to_num(number).astype(np.int64).astype(np.str_))
