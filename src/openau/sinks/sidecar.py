"""A table's sidecar: JSON beside it that explains every column, as BIDS has it for its tables.

`clip.csv` is explained by `clip.json`, the tables of a folder by its `columns.json`. Each column has an object with BIDS's keys
(`LongName`, `Description`, `Units`, `Minimum`, `Maximum`, `Levels`); `GeneratedBy` tells the program, its version, the model and the
options. The same run gives the same bytes. A file of that name that OpenAU did not write (a model's card, a data set's own sidecar) is
left alone, and the sidecar is called `clip.csv.json` instead.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from openau import __version__
from openau.facs import au, parse_column
from openau.outputs import whole_file
from openau.result import FACE_COLUMNS, AUColumns
from openau.sinks.formats import FormatName

FOLDER_SIDECAR = "columns.json"
_PROGRAM = "OpenAU"
_GENERATED = "GeneratedBy"

Column = Mapping[str, Any]

_FACE: Mapping[str, Column] = {
    "source": {"LongName": "Source", "Description": "The input as it was named, or the camera's index."},
    "frame": {
        "LongName": "Frame",
        "Description": "Number of the frame in presentation order, from 0; 0 for a picture.",
        "Units": "frames",
        "Minimum": 0,
    },
    "timestamp": {
        "LongName": "Time stamp",
        "Description": "Time since the first frame, from the file's own time stamps.",
        "Units": "s",
        "Minimum": 0,
    },
    "face_id": {
        "LongName": "Face",
        "Description": "In a picture: faces from the largest, from 0. In a video: the person's track, from 0. "
        "Empty: no face was found in this frame.",
        "Minimum": 0,
    },
    "score": {
        "LongName": "Face score",
        "Description": "Probability that this is a face.",
        "Minimum": 0,
        "Maximum": 1,
    },
    "x": {"LongName": "Box, left", "Description": "Left edge of the landmarks' box in the upright picture.", "Units": "pixels"},
    "y": {"LongName": "Box, top", "Description": "Upper edge of the landmarks' box in the upright picture.", "Units": "pixels"},
    "width": {"LongName": "Box, width", "Description": "Width of the landmarks' box.", "Units": "pixels", "Minimum": 0},
    "height": {"LongName": "Box, height", "Description": "Height of the landmarks' box.", "Units": "pixels", "Minimum": 0},
    "pitch": {"LongName": "Head pitch", "Description": "Positive: looks up.", "Units": "degrees"},
    "yaw": {"LongName": "Head yaw", "Description": "Positive: turns to the subject's left.", "Units": "degrees"},
    "roll": {
        "LongName": "Head roll",
        "Description": "Positive: tilts the head towards the subject's left shoulder.",
        "Units": "degrees",
    },
}  # fmt: skip
_FLAG: Column = {"Levels": {"0": "no", "1": "yes"}}
_QUALITY: Mapping[str, Column] = {
    "eye_distance": {
        "LongName": "Eye distance",
        "Description": "Between the middles of the eyes, in space.",
        "Units": "pixels",
        "Minimum": 0,
    },
    "blur": {
        "LongName": "Blur",
        "Description": "Width (sigma) of a Gaussian blur.",
        "Units": "percent of the eye distance",
        "Minimum": 0,
    },
    "occlusion": {
        "LongName": "Occlusion",
        "Description": "Probability that something covers a part of the face.",
        "Minimum": 0,
        "Maximum": 1,
    },
    "turn": {
        "LongName": "Turn",
        "Description": "Angle between the face and the camera; tilting aside not counted.",
        "Units": "degrees",
        "Minimum": 0,
    },
    "brightness": {"LongName": "Brightness", "Description": "Mean grey of the face.", "Minimum": 0, "Maximum": 255},
    "overexposure": {
        "LongName": "Overexposure",
        "Description": "Share of the face's pixels that are white.",
        "Minimum": 0,
        "Maximum": 1,
    },
    "is_small": {"LongName": "Small", "Description": "eye_distance below 20.", **_FLAG},
    "is_blurred": {"LongName": "Blurred", "Description": "blur above 5.", **_FLAG},
    "is_occluded": {"LongName": "Occluded", "Description": "occlusion above 0.5.", **_FLAG},
    "is_turned": {"LongName": "Turned", "Description": "turn above 40.", **_FLAG},
    "is_dark": {"LongName": "Dark", "Description": "brightness below 35.", **_FLAG},
    "is_overexposed": {"LongName": "Overexposed", "Description": "overexposure above 0.15.", **_FLAG},
    "confidence": {
        "LongName": "Confidence",
        "Description": "How far the row may be trusted; below 0.5 where a flag is raised.",
        "Minimum": 0,
        "Maximum": 1,
    },
}
_OPENFACE: Mapping[str, Column] = {
    "frame": {"LongName": "Frame", "Description": "Number of the frame, from 1 as OpenFace counts.", "Minimum": 1},
    "confidence": {"LongName": "Face score", "Description": "Probability that this is a face.", "Minimum": 0, "Maximum": 1},
    "success": {
        "LongName": "Success",
        "Description": "Whether a face was found.",
        "Levels": {"0": "no face", "1": "a face"},
    },
    "pose_Rx": {"LongName": "Head pitch", "Description": "Negative: looks up.", "Units": "rad"},
    "pose_Ry": {"LongName": "Head yaw", "Description": "Positive: turns to the subject's right.", "Units": "rad"},
    "pose_Rz": {"LongName": "Head roll", "Description": "As OpenFace's.", "Units": "rad"},
}  # fmt: skip

_PYFEAT = {
    "frame": "frame", "FaceRectX": "x", "FaceRectY": "y", "FaceRectWidth": "width", "FaceRectHeight": "height",
    "FaceScore": "score", "Identity": "face_id", "input": "source", "timestamp": "timestamp",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Origin:
    """Who wrote a table.

    Attributes:
        version: of OpenAU.
        settings: what its rows depend on: model, sha256, options.
    """

    version: str
    settings: Mapping[str, str]


def explain(columns: AUColumns, format: FormatName = "csv") -> dict[str, Column]:
    """What each column of a table means, by its name, in the table's order.

    Columns of OpenFace's and Py-Feat's formats that OpenAU leaves empty are not explained.
    """
    if format == "openface":
        return {**_shared("face_id", "timestamp"), **_OPENFACE, **dict(_openface_aus(columns))}
    if format == "pyfeat":
        told = {name: _FACE[own] for name, own in _PYFEAT.items()}
        return {**told, **{name: _au_column(name) for name in columns.names[: len(columns.occurrence)]}}
    return {**_shared(*FACE_COLUMNS), **{name: _au_column(name) for name in columns.names}}


def sidecar_path(table: Path) -> Path:
    """Where the sidecar of a table (or of a folder of tables) goes, given what lies there already."""
    if table.is_dir():
        return table / FOLDER_SIDECAR
    beside = table.with_suffix(".json")
    taken = beside.exists() and read_sidecar(beside) is None
    return table.with_name(f"{table.name}.json") if taken or beside == table else beside


def write_sidecar(
    table: Path,
    columns: AUColumns,
    format: FormatName = "csv",
    settings: Mapping[str, str] | None = None,
    continued: bool = False,
) -> Path | None:
    """Explain a table's columns beside it.

    Args:
        table: the table, or a folder of tables.
        columns: its AU columns.
        format: its format.
        settings: what its rows depend on.
        continued: the table keeps rows of earlier runs; if those had other settings, `GeneratedBy` goes on telling them, oldest first.

    Returns:
        The sidecar; None where both of its names belong to files that OpenAU did not write.

    Raises:
        OutputError: it cannot be written.
    """
    path = sidecar_path(table)
    before = read_sidecar(path)
    if path.exists() and before is None:
        return None
    earlier = before[_GENERATED] if before and continued else []
    with whole_file(path) as scratch:
        scratch.write_bytes(sidecar_bytes(columns, format, settings, earlier))
    return path


def sidecar_bytes(
    columns: AUColumns,
    format: FormatName = "csv",
    settings: Mapping[str, str] | None = None,
    earlier: Sequence[Any] = (),
) -> bytes:
    """A sidecar's content as it is written; `earlier` is what `GeneratedBy` told before."""
    made = {"Name": _PROGRAM, "Version": __version__, "Settings": dict(settings or {})}
    generated = [*(entry for entry in earlier if entry != made), made]
    return (
        json.dumps({_GENERATED: generated, **explain(columns, format)}, indent=2, ensure_ascii=False) + "\n"
    ).encode()


def read_sidecar(path: Path) -> dict[str, Any] | None:
    """A sidecar's content; None if the file is not one that OpenAU wrote."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        made = content[_GENERATED][-1]
        known = made["Name"] == _PROGRAM and isinstance(made["Settings"], dict) and isinstance(made["Version"], str)
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return None
    return dict(content) if known else None


def read_origin(table: Path) -> Origin | None:
    """Who wrote a table, or a folder of tables, by its sidecar; None if it has none."""
    inside = (table / FOLDER_SIDECAR,) if table.is_dir() else ()
    for path in (
        *inside,
        table.with_suffix(".json"),
        table.with_name(f"{table.name}.json"),
        table.parent / FOLDER_SIDECAR,
    ):
        content = read_sidecar(path)
        if content is not None:
            made = content[_GENERATED][-1]
            return Origin(made["Version"], {str(k): str(v) for k, v in made["Settings"].items()})
    return None


def _shared(*names: str) -> dict[str, Column]:
    return {name: dict(_FACE[name]) for name in names}


def _au_column(name: str) -> Column:
    parsed = parse_column(name)
    if parsed is None and name in _QUALITY:
        return _QUALITY[name]
    if parsed is None:
        return {
            "LongName": name.replace("_", " ").capitalize(),
            "Description": "A further column; see docs/columns.md.",
        }
    number, kind = parsed
    unit = au(number)
    about = f"{unit.name} ({unit.muscle})"
    if kind == "i":
        text = f"Intensity of AU{number}, {about}: 0 is absent, 5 the strongest. Empty: not judged."
        return {"LongName": f"AU{number} intensity", "Description": text, "Minimum": 0, "Maximum": 5}
    side = {"L": " on the subject's left", "R": " on the subject's right"}.get(str(kind), "")
    text = (
        f"Probability that AU{number}, {about}, is present{side}, calibrated so that 0.5 is the decision threshold. "
        "Empty: not judged."
    )
    return {"LongName": f"AU{number} {unit.name}{side}", "Description": text, "Minimum": 0, "Maximum": 1}


def _openface_aus(columns: AUColumns) -> list[tuple[str, Column]]:
    told: list[tuple[str, Column]] = []
    for number in columns.occurrence:
        name = f"AU{45 if number == 43 else number:02d}"
        levels = {"0": "absent", "1": "present"}
        told.append(
            (f"{name}_c", {"Description": f"Whether AU{number}, {au(number).name}, is present.", "Levels": levels})
        )
        if number in columns.intensity:
            told.append((f"{name}_r", {"Description": f"Intensity of {name}.", "Minimum": 0, "Maximum": 5}))
    return told
