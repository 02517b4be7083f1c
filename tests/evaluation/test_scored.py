from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scored_faces import made_up

from openau.errors import InputError, OutputError
from openau.evaluation.scored import Scored, read_scored, write_scored


def same(a: Scored, b: Scored) -> bool:
    for field in fields(Scored):
        x, y = getattr(a, field.name), getattr(b, field.name)
        if field.name == "thresholds":
            equal = x.keys() == y.keys() and all(np.array_equal(x[k], y[k], equal_nan=True) for k in x)
        elif isinstance(x, np.ndarray):
            equal = (
                x.shape == y.shape
                and x.dtype.kind == y.dtype.kind
                and np.array_equal(x, y, equal_nan=x.dtype.kind == "f")
            )
        else:
            equal = x == y
        if not equal:
            return False
    return True


def test_round_trip(tmp_path: Path) -> None:
    scored = made_up()
    partly = replace(scored, thresholds={"part 1": np.array([0.3, np.nan, 0.5], np.float32)}, selection="test-selected")
    bare = replace(scored, intensity_aus=(), thresholds={}, notes=())
    for number, written in enumerate((scored, partly, bare, scored.take(np.zeros(0, int)))):
        path = tmp_path / f"{number}.parquet"
        write_scored(written, path)
        assert same(read_scored(path), written)
    assert not same(read_scored(tmp_path / "0.parquet"), partly)


def test_unknown_is_null_in_the_file(tmp_path: Path) -> None:
    scored = made_up()
    write_scored(scored, tmp_path / "a.parquet")
    table = pq.read_table(tmp_path / "a.parquet")
    assert table.column("AU04_true").null_count == np.isnan(scored.occurrence[:, 1]).sum() > 0
    assert table.column("AU12").null_count == np.isnan(scored.probability[:, 2]).sum() > 0


def test_only_and_take() -> None:
    scored = made_up()
    fewer = scored.only((12, 1)).take(np.array([5, 3]))
    assert (fewer.aus, fewer.intensity_aus) == ((12, 1), (1,))
    assert np.array_equal(fewer.probability, scored.probability[[5, 3]][:, [2, 0]], equal_nan=True)
    assert fewer.frame.tolist() == [5, 3]
    with pytest.raises(ValueError, match="not in tuple"):
        scored.only((2,))


def test_lengths_must_agree() -> None:
    scored = made_up()
    with pytest.raises(ValueError, match="probability has the shape"):
        replace(scored, probability=scored.probability[:-1])
    with pytest.raises(ValueError, match="thresholds of 'part 1'"):
        replace(scored, thresholds={"part 1": np.zeros(2, np.float32)})


def test_bad_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_scored(tmp_path / "missing.parquet")
    (tmp_path / "text.parquet").write_text("hello")
    pq.write_table(pa.table({"AU01": [0.5]}), tmp_path / "other.parquet")
    for name in ("text", "other"):
        with pytest.raises(InputError, match=rf"{name}\.parquet: is not a file of scored faces"):
            read_scored(tmp_path / f"{name}.parquet")
    with pytest.raises(OutputError, match="does not exist"):
        write_scored(made_up(), tmp_path / "no" / "a.parquet")
