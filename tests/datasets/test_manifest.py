from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from openau.datasets.manifest import aus_in, intensity_aus_in, read_manifest, sided_aus_in, write_manifest
from openau.errors import InputError, OutputError


def table(**columns: object) -> pa.Table:
    base = {"image": ["a.jpg", None], "subject": ["s1", "s2"], "AU12": pa.array([1, None], pa.int8())}
    return pa.table(base | columns)


def test_round_trip_keeps_values_and_adds_the_optional_columns(tmp_path: Path) -> None:
    given = table(
        AU12_i=[2.5, None], AU12_L=[1, 0], AU12_R=[None, 0], AU12_iL=[0.0, 5.0], AU06=[None, None], yaw=[1.0, 2.0]
    )
    write_manifest(given, tmp_path / "m.parquet")
    read = read_manifest(tmp_path / "m.parquet")
    for name in given.column_names:
        assert read.column(name).to_pylist() == given.column(name).to_pylist()
    assert read.column("fold").to_pylist() == [None, None]
    assert [p.name for p in tmp_path.iterdir()] == ["m.parquet"]
    assert aus_in(read) == (12,)  # AU06 is known nowhere
    assert intensity_aus_in(read) == (12,)
    assert sided_aus_in(read) == (12,)


@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"AU12": [1, 2]}, "AU12 must hold 0, 1 or null"),
        ({"AU12": [0.5, 1.0]}, "AU12 must hold 0, 1 or null"),
        ({"AU12": [float("nan"), 1.0]}, "NaN"),
        ({"AU12_i": [5.5, 1.0]}, "AU12_i must hold intensities from 0 to 5"),
        ({"AU12_iL": [-1.0, 1.0]}, "AU12_iL must hold intensities"),
        ({"AU12_R": [9, 1]}, "AU12_R must hold 0, 1"),
        ({"AU99": [0, 1]}, "AU99"),
        ({"AU12_x": [0, 1]}, "AU12_x"),
        ({"AU06": ["yes", "no"]}, "AU06 must hold numbers"),
        ({"subject": ["s1", None]}, "every face needs a subject"),
        ({"subject": [1, 2]}, "subject must hold text"),
        ({"fold": ["a", "b"]}, "fold must hold integers"),
        ({"image": ["/home/a.jpg", None]}, "relative"),
        ({"image": ["C:\\a.jpg", None]}, "relative"),
    ],
)  # fmt: skip
def test_broken_tables_are_refused_in_one_sentence(tmp_path: Path, columns: dict[str, object], words: str) -> None:
    path = tmp_path / "broken.parquet"
    pq.write_table(table(**columns), path)
    with pytest.raises(InputError) as caught:
        read_manifest(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError):
        write_manifest(table(**columns), tmp_path / "other.parquet")
    assert not (tmp_path / "other.parquet").exists()


def test_missing_columns(tmp_path: Path) -> None:
    for names, words in (
        (["subject", "AU12"], "image"),
        (["image", "AU12"], "subject"),
        (["image", "subject"], "no AU column"),
    ):
        path = tmp_path / "m.parquet"
        pq.write_table(table().select(names), path)
        with pytest.raises(InputError, match=words):
            read_manifest(path)


def test_unreadable_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_manifest(tmp_path / "absent.parquet")
    with pytest.raises(InputError, match="is a folder"):
        read_manifest(tmp_path)
    whole = tmp_path / "whole.parquet"
    write_manifest(table(), whole)
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a readable Parquet file"):
        read_manifest(cut)
    with pytest.raises(OutputError, match="cannot be written"):
        write_manifest(table(), tmp_path / "nowhere" / "m.parquet")
