"""Faces with what a model said and what coders say: the one input of every table, plot and comparison.

A model of ours, another tool's CSV and a baseline all become `Scored`; a Parquet file holds it between a run and its tables.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from openau.errors import InputError
from openau.facs import intensity_column, occurrence_column
from openau.outputs import whole_file

Floats = npt.NDArray[np.float32]
Texts = npt.NDArray[np.str_]
Index = npt.NDArray[np.intp]

Selection = Literal["validation", "test-selected", "none"]
"""How the epoch (and whatever else) was chosen: on validation subjects of the training part, on the test part itself, or not at all."""

_VERSION = 1


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """N coded faces, A AUs.

    Attributes:
        model: who said it.
        data: what on ("bp4d").
        protocol: split in which it was said ("bp4d-3fold"), empty where there is none.
        aus: of the columns.
        probability: (N, A) 0–1; NaN = not judged (no face found).
        occurrence: (N, A) 0, 1 or NaN (not known).
        subject, clip: (N,) text; a clip may be empty.
        frame: (N,) int64; −1 where there is none.
        part: (N,) name of the test part a face belongs to ("part 1"); empty where there is one test set only.
        thresholds: test part → (A,) thresholds chosen on that part's validation subjects; NaN or absent where none was chosen.
        intensity_aus: of the next two.
        intensity, intensity_labels: (N, A_i) 0–5 or NaN.
        selection: how the model was chosen; "test-selected" is printed in every table.
        notes: sentences for the foot of every table (fate of missed faces, binarisation …).

    Raises:
        ValueError: lengths do not agree.
    """

    model: str
    data: str
    protocol: str
    aus: tuple[int, ...]
    probability: Floats
    occurrence: Floats
    subject: Texts
    clip: Texts
    frame: npt.NDArray[np.int64]
    part: Texts
    thresholds: Mapping[str, Floats] = field(default_factory=dict)
    intensity_aus: tuple[int, ...] = ()
    intensity: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    intensity_labels: Floats = field(default_factory=lambda: np.zeros((0, 0), np.float32))
    selection: Selection = "none"
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        count = len(self.subject)
        if not self.intensity_aus:
            empty = np.zeros((count, 0), np.float32)
            object.__setattr__(self, "intensity", empty)
            object.__setattr__(self, "intensity_labels", empty)
        shapes = {
            "probability": (count, len(self.aus)),
            "occurrence": (count, len(self.aus)),
            "clip": (count,),
            "frame": (count,),
            "part": (count,),
            "intensity": (count, len(self.intensity_aus)),
            "intensity_labels": (count, len(self.intensity_aus)),
        }
        for name, shape in shapes.items():
            if getattr(self, name).shape != shape:
                raise ValueError(f"{name} has the shape {getattr(self, name).shape}, expected {shape}")
        for part, values in self.thresholds.items():
            if values.shape != (len(self.aus),):
                raise ValueError(
                    f"the thresholds of {part!r} have the shape {values.shape}, expected ({len(self.aus)},)"
                )

    def __len__(self) -> int:
        return len(self.subject)

    @property
    def parts(self) -> tuple[str, ...]:
        """Test parts in order of their names."""
        return tuple(sorted(set(self.part.tolist())))

    def take(self, rows: Index) -> Scored:
        """These rows alone."""
        columns = ("probability", "occurrence", "subject", "clip", "frame", "part", "intensity", "intensity_labels")
        return replace(self, **{name: getattr(self, name)[rows] for name in columns})

    def only(self, aus: tuple[int, ...]) -> Scored:
        """These AUs alone, in this order.

        Raises:
            ValueError: one of them is not among the columns.
        """
        column = [self.aus.index(number) for number in aus]
        graded = tuple(number for number in aus if number in self.intensity_aus)
        grade = [self.intensity_aus.index(number) for number in graded]
        return replace(
            self,
            aus=aus,
            probability=self.probability[:, column],
            occurrence=self.occurrence[:, column],
            thresholds={part: values[column] for part, values in self.thresholds.items()},
            intensity_aus=graded,
            intensity=self.intensity[:, grade],
            intensity_labels=self.intensity_labels[:, grade],
        )


def write_scored(scored: Scored, path: Path) -> None:
    """Write to Parquet, whole or not at all.

    Columns `subject, clip, frame, part`, then per AU `AU01` (probability) and `AU01_true`, `AU01_i` and `AU01_i_true`; the rest is in the
    schema's metadata under `openau.scored`.

    Raises:
        OutputError: the file cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {name: getattr(scored, name) for name in ("subject", "clip", "frame", "part")}
    for position, number in enumerate(scored.aus):
        columns[occurrence_column(number)] = scored.probability[:, position]
        columns[occurrence_column(number) + "_true"] = scored.occurrence[:, position]
    for position, number in enumerate(scored.intensity_aus):
        columns[intensity_column(number)] = scored.intensity[:, position]
        columns[intensity_column(number) + "_true"] = scored.intensity_labels[:, position]
    arrays = {
        name: pa.array(values.tolist() if values.dtype.kind == "U" else values, from_pandas=True)
        for name, values in columns.items()
    }
    about = {
        "version": _VERSION,
        "model": scored.model,
        "data": scored.data,
        "protocol": scored.protocol,
        "aus": scored.aus,
        "intensity_aus": scored.intensity_aus,
        "thresholds": {
            part: [None if np.isnan(value) else float(value) for value in values]
            for part, values in scored.thresholds.items()
        },
        "selection": scored.selection,
        "notes": scored.notes,
    }
    table = pa.table(arrays).replace_schema_metadata({"openau.scored": json.dumps(about)})
    with whole_file(path) as scratch:
        pq.write_table(table, scratch, compression="zstd")


def read_scored(path: Path) -> Scored:
    """Read what `write_scored` wrote.

    Raises:
        InputError: the file is missing or is something else.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        if b"openau.scored" not in (table.schema.metadata or {}):
            raise InputError(f"{path}: is not a file of scored faces; `openau evaluate … -o FILE.parquet` writes them")
        about = json.loads(table.schema.metadata[b"openau.scored"])
        if about["version"] != _VERSION:
            raise InputError(f"{path}: was written by another version of OpenAU (format {about['version']})")
        aus, graded = tuple(about["aus"]), tuple(about["intensity_aus"])
        return Scored(
            model=about["model"],
            data=about["data"],
            protocol=about["protocol"],
            aus=aus,
            probability=_matrix(table, [occurrence_column(number) for number in aus]),
            occurrence=_matrix(table, [occurrence_column(number) + "_true" for number in aus]),
            subject=_texts(table, "subject"),
            clip=_texts(table, "clip"),
            frame=np.asarray(table.column("frame").to_pylist(), np.int64),
            part=_texts(table, "part"),
            thresholds={
                part: np.array([np.nan if value is None else value for value in values], np.float32)
                for part, values in about["thresholds"].items()
            },
            intensity_aus=graded,
            intensity=_matrix(table, [intensity_column(number) for number in graded]),
            intensity_labels=_matrix(table, [intensity_column(number) + "_true" for number in graded]),
            selection=about["selection"],
            notes=tuple(about["notes"]),
        )
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError, KeyError, TypeError, ValueError) as error:
        raise InputError(f"{path}: is not a file of scored faces ({error})") from None


def _matrix(table: Any, names: list[str]) -> Floats:
    values = np.full((table.num_rows, len(names)), np.nan, np.float32)
    for position, name in enumerate(names):
        values[:, position] = table.column(name).to_numpy(zero_copy_only=False).astype(np.float32)
    return values


def _texts(table: Any, name: str) -> Texts:
    return np.array(table.column(name).to_pylist(), np.str_).reshape(-1)
