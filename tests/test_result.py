"""`Faces`: shapes are checked, tables are stacked and cut, and what is not known is empty in every form."""

from __future__ import annotations

import builtins
import dataclasses
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from openau.errors import MissingExtraError
from openau.result import FACE_COLUMNS, NO_FACE, AUColumns, Faces

COLUMNS = AUColumns(occurrence=(1, 12), intensity=(12,), sided=(12,))
NAMES = ("AU01", "AU12", "AU12_i", "AU12_L", "AU12_R")


def some(rows: int = 3, first: int = 0, landmarks: bool = False) -> Faces:
    """A table in which every cell has a value of its own."""
    frame = np.arange(first, first + rows)
    cell = 100.0 * frame[:, None] + np.arange(20)
    return Faces(
        columns=COLUMNS,
        source=np.array([f"clip{number}.mp4" for number in frame], object),
        frame=frame.astype(np.int64),
        timestamp=frame / 25,
        face_id=frame.astype(np.int64) % 2,
        score=(frame / 1000).astype(np.float32),
        box=cell[:, :4].astype(np.float32),
        pose=cell[:, 4:7].astype(np.float32),
        values=cell[:, 7:12].astype(np.float32),
        landmarks=np.full((rows, 468, 3), first, np.float32) if landmarks else None,
    )


def cells(table: Faces) -> list[dict[str, Any]]:
    return list(table.rows())


# Columns --------------------------------------------------------------------------------------------------------------


def test_columns_are_those_of_the_contract_in_its_order() -> None:
    """`docs/columns.md` is what users read: its table names every column before the AUs, in order."""
    page = (Path(__file__).parents[1] / "docs" / "columns.md").read_text(encoding="utf-8")
    table = page.split("\n## ")[0]  # further tables are of other files, or of columns that are asked for
    rows = [line.split("|")[1] for line in table.splitlines() if line.startswith("| `")]
    documented = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
    assert documented[: len(FACE_COLUMNS)] == list(FACE_COLUMNS)
    assert documented[len(FACE_COLUMNS) :] == ["AU01", "AU02", "AU01_i", "AU12_L", "AU12_R"]


def test_occurrences_come_first_then_intensities_then_sides_then_extras() -> None:
    assert COLUMNS.names == NAMES
    assert AUColumns((2,), (2,), (2,), ("blurred",)).names == ("AU02", "AU02_i", "AU02_L", "AU02_R", "blurred")
    assert some().column_names == (*FACE_COLUMNS, *NAMES)
    assert list(cells(some())[0]) == [*FACE_COLUMNS, *NAMES]
    assert some().to_arrow().column_names == [*FACE_COLUMNS, *NAMES]
    assert list(some().to_pandas().columns) == [*FACE_COLUMNS, *NAMES]


def test_a_column_by_its_name() -> None:
    faces = some()
    assert faces.column("frame").tolist() == [0, 1, 2]
    assert faces.column("height").tolist() == [3, 103, 203]
    assert faces.column("yaw").tolist() == [5, 105, 205]
    assert faces.column("AU12_L").tolist() == [10, 110, 210]
    with pytest.raises(KeyError, match="no column 'AU99'; there are source, frame"):
        faces.column("AU99")


# Shapes ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("frame", np.zeros(2, np.int64)), ("timestamp", np.zeros(4)), ("face_id", np.zeros((3, 1), np.int64)),
        ("score", np.zeros(2, np.float32)), ("box", np.zeros((3, 5), np.float32)), ("pose", np.zeros((2, 3), np.float32)),
        ("values", np.zeros((3, 4), np.float32)), ("landmarks", np.zeros((2, 468, 3), np.float32)),
    ],
)  # fmt: skip
def test_arrays_that_do_not_fit_are_refused(name: str, array: np.ndarray) -> None:
    with pytest.raises(ValueError, match=rf"Faces\.{name} has"):
        dataclasses.replace(some(), **{name: array})


# Rows without a face --------------------------------------------------------------------------------------------------


def test_a_frame_without_a_face_is_one_empty_row() -> None:
    row = Faces.no_face(COLUMNS, "wall.png", 7, 0.28)
    assert len(row) == 1
    assert row.has_face.tolist() == [False]
    assert row.face_id.tolist() == [NO_FACE]
    empty = dict.fromkeys((*FACE_COLUMNS, *NAMES))
    wanted = empty | {"source": "wall.png", "frame": 7, "timestamp": 0.28}
    assert cells(row) == [wanted]
    assert row.to_arrow().to_pylist() == [wanted]
    shown = row.to_pandas().iloc[0]
    assert [name for name in shown.index if not pd.isna(shown[name])] == ["source", "frame", "timestamp"]


def test_an_au_that_was_not_judged_is_empty_and_its_neighbours_are_not() -> None:
    faces = some()
    faces.values[1, NAMES.index("AU12_i")] = np.nan
    assert [row["AU12_i"] for row in cells(faces)] == [9, None, 209]
    assert faces.to_arrow().column("AU12_i").to_pylist() == [9, None, 209]
    assert faces.to_arrow().column("AU12").null_count == 0
    assert faces.to_pandas()["AU12_i"].isna().tolist() == [False, True, False]


def test_a_face_between_frames_without_one_keeps_its_whole_number() -> None:
    faces = Faces.concatenate([Faces.no_face(COLUMNS, "a", 0), some(1, first=3), Faces.no_face(COLUMNS, "a", 2)])
    assert [row["face_id"] for row in cells(faces)] == [None, 1, None]
    column = faces.to_arrow().column("face_id")
    assert column.type == pa.int64()
    assert column.to_pylist() == [None, 1, None]
    frame = faces.to_pandas()
    assert frame["face_id"].dtype == pd.Int64Dtype()
    assert frame["face_id"].isna().tolist() == [True, False, True]
    assert frame["face_id"][1] == 1


# Converters -----------------------------------------------------------------------------------------------------------


def test_three_forms_hold_the_same_values() -> None:
    faces = some()
    plain = cells(faces)
    assert {type(value) for row in plain for value in row.values()} == {str, int, float}
    assert faces.to_arrow().to_pylist() == plain
    frame = faces.to_pandas()
    for name in faces.column_names:
        assert frame[name].tolist() == [row[name] for row in plain]


def test_types_in_arrow() -> None:
    schema = some().to_arrow().schema
    assert {schema.field(name).type for name in ("frame", "face_id")} == {pa.int64()}
    assert schema.field("timestamp").type == pa.float64()
    assert {schema.field(name).type for name in ("score", "x", "roll", *NAMES)} == {pa.float32()}


@pytest.mark.parametrize(("convert", "package"), [("to_arrow", "pyarrow"), ("to_pandas", "pandas")])
def test_a_missing_package_is_named(convert: str, package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: Any, **options: Any) -> Any:
        if name == package:
            raise ImportError(name)
        return real(name, *rest, **options)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtraError, match=r"pip install 'openau\[tables\]'"):
        getattr(some(), convert)()


# Stacking and cutting -------------------------------------------------------------------------------------------------


def test_cut_and_stacked_again_it_is_the_same_table() -> None:
    faces = some(5, landmarks=True)
    again = Faces.concatenate([faces[:2], faces[2:2], faces[2:]])
    assert cells(again) == cells(faces)
    assert again.columns == faces.columns
    np.testing.assert_array_equal(again.landmarks, faces.landmarks)


def test_rows_by_slice_mask_and_list() -> None:
    faces = some(4, landmarks=True)
    assert faces[1:3].frame.tolist() == [1, 2]
    assert faces[::-1].frame.tolist() == [3, 2, 1, 0]
    assert faces[faces.face_id == 1].frame.tolist() == [1, 3]
    assert faces[[2, 0]].source.tolist() == ["clip2.mp4", "clip0.mp4"]
    assert len(faces[[]]) == 0
    assert len(faces[np.zeros(4, bool)]) == 0
    picked = faces[[2, 0]].landmarks
    assert picked is not None
    assert picked.shape == (2, 468, 3)


def test_a_single_index_is_refused_with_what_to_write() -> None:
    with pytest.raises(TypeError, match=r"faces\[i : i \+ 1\]"):
        some()[1]  # type: ignore[index]


def test_landmarks_survive_only_where_every_table_has_them() -> None:
    with_them, without = some(2, landmarks=True), some(1, first=9)
    assert Faces.concatenate([with_them, without]).landmarks is None
    both = Faces.concatenate([with_them, some(1, first=9, landmarks=True)]).landmarks
    assert both is not None
    assert both[:, 0, 0].tolist() == [0, 0, 9]


def test_tables_with_other_columns_or_no_table_are_not_stacked() -> None:
    other = Faces.no_face(AUColumns((1,)), "a")
    with pytest.raises(ValueError, match="AU columns differ"):
        Faces.concatenate([some(), other])
    with pytest.raises(ValueError, match="at least one table"):
        Faces.concatenate(iter(()))


def test_an_empty_table_has_columns_and_no_rows() -> None:
    empty = some()[:0]
    assert cells(empty) == []
    assert empty.to_arrow().num_rows == 0
    assert empty.to_arrow().schema == some().to_arrow().schema
    assert math.prod(empty.to_pandas().shape) == 0
