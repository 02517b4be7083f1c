"""Tables of events and summaries, beside tables that are interrupted and resumed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from openau.result import AUColumns, Faces
from openau.temporal import RULE, Beside, Summariser, events_of, events_path, summary_path

COLUMNS = AUColumns((4, 12), (12,))


def clip(source: str, frames: int = 30, gone: range = range(0)) -> list[Faces]:
    """Face 0 smiles in frames 5–14 and is away in `gone`."""
    made = []
    for n in range(frames):
        if n in gone:
            made.append(Faces.no_face(COLUMNS, source, n, n / 25))
            continue
        smile = 5 <= n < 15
        values = np.array([[0.1, 0.9 if smile else 0.1, 4.0 if smile else 1.0]], np.float32)
        made.append(
            Faces(
                COLUMNS, np.array([source], object), np.array([n]), np.array([n / 25]), np.array([0]), np.ones(1, np.float32),
                np.array([[0, 0, 100, 120]], np.float32), np.zeros((1, 3), np.float32), values,
            )
        )  # fmt: skip
    return made


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def feed(beside: Beside, source: str, table: Path | None = None) -> None:
    for faces in clip(source):
        beside.write(faces, table)
    beside.finish_source()


def test_a_summary_says_when_a_face_was_there_and_what_it_showed() -> None:
    summariser = Summariser(COLUMNS)
    frames = clip("a", gone=range(20, 30))
    for faces in frames:
        summariser.add(faces)
    summariser.count(events_of(Faces.concatenate(frames)))
    (row,) = summariser.finish()
    assert (row.first, row.last, row.frames) == (0, pytest.approx(19 / 25), 20)
    assert row.share == pytest.approx(20 / 30)
    assert (row.width, row.height) == (100, 120)
    np.testing.assert_allclose(row.mean, [0.1, 0.5, 2.5], atol=1e-6)
    np.testing.assert_allclose(row.peak, [0.1, 0.9, 4.0], atol=1e-6)
    assert row.events.tolist() == [0, 1]
    assert summariser.finish() == []


def test_the_tables_of_one_source(tmp_path: Path) -> None:
    table = tmp_path / "clip.csv"
    beside = Beside(COLUMNS, RULE, True)
    feed(beside, "clip.mp4", table)
    beside.close()
    (event,) = rows(events_path(table))
    assert (event["AU"], event["onset"], event["offset"], event["duration"]) == (
        "AU12",
        "0.200000",
        "0.600000",
        "0.400000",
    )
    assert (event["peak"], event["peak_intensity"], event["starts_unseen"]) == ("0.9000", "4.0000", "0")
    (row,) = rows(summary_path(table))
    assert (row["share"], row["AU12_peak"], row["AU12_i_mean"], row["AU12_events"]) == (
        "1.0000",
        "0.9000",
        "2.0000",
        "1",
    )
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.events.csv", "clip.summary.csv"]


def test_a_killed_run_is_resumed_without_loss_or_doubles(tmp_path: Path) -> None:
    table, whole = tmp_path / "all.csv", tmp_path / "whole.csv"
    every = Beside(COLUMNS, RULE, True, whole)
    for name in ("a", "b", "c"):
        feed(every, name)
    every.close()

    killed = Beside(COLUMNS, RULE, True, table)
    feed(killed, "a")
    feed(killed, "b")  # written, but the table beside does not say so yet
    for faces in clip("c")[:20]:
        killed.write(faces, None)
    for file in killed._files:
        file.flush()
    for file in tmp_path.glob("all.*.partial"):
        file.write_bytes(file.read_bytes() + b"c,0,AU")  # and cut in the middle of a line

    again = Beside(COLUMNS, RULE, True, table, lambda name: name == "a")
    feed(again, "b")
    feed(again, "c")
    again.close()
    for path in (events_path, summary_path):
        assert path(table).read_bytes() == path(whole).read_bytes()
    assert not list(tmp_path.glob("*.partial"))


def test_a_run_that_finds_everything_finished_leaves_the_tables_as_they_are(tmp_path: Path) -> None:
    table = tmp_path / "all.csv"
    first = Beside(COLUMNS, RULE, True, table)
    feed(first, "a")
    first.close()
    before = events_path(table).read_bytes()
    Beside(COLUMNS, RULE, True, table, lambda name: True).close()
    assert events_path(table).read_bytes() == before


def test_what_is_shown_and_not_written_has_no_tables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    beside = Beside(COLUMNS, RULE, True)
    feed(beside, "0")
    beside.close()
    assert list(tmp_path.iterdir()) == []
