"""A camera, which only Ctrl-C ends."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

import pytest
from clips import frame
from rich.console import Console

from openau.batch import Batch, OneTable, OnScreen, Overlays
from openau.cli.detect import _Screen
from openau.media import Frame, Source
from openau.runtime import Detector
from openau.sinks import TableSink

pytestmark = pytest.mark.weights


class Camera:
    """Five frames, then Ctrl-C."""

    duration = None
    rate = 30.0

    def __enter__(self) -> Camera:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def share(self, time: float) -> None:
        return None

    def __iter__(self) -> Iterator[Frame]:
        for index in range(5):
            yield Frame(index, index / 30, frame(index))
        raise KeyboardInterrupt


def test_ctrl_c_ends_a_camera_with_a_whole_table_and_overlay(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openau.batch.open_camera", lambda index, selection: Camera())
    detector = Detector(model)
    with OneTable(TableSink(tmp_path / "t.csv", detector.columns)) as table:
        batch = Batch(detector, table, Overlays(tmp_path / "seen.mp4", folder=False))
        (outcome,) = batch.run([Source("0", "camera")])
    assert (outcome.status, outcome.frames, outcome.faces) == ("ok", 5, 5)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["source"] for row in csv.DictReader(file)] == ["0"] * 5
    assert {p.name for p in tmp_path.iterdir()} == {"t.csv", "seen.mp4"}


def test_without_a_table_a_camera_is_one_line(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openau.batch.open_camera", lambda index, selection: Camera())
    detector = Detector(model)
    console = Console(record=True, width=200)
    with _Screen(console) as screen, OnScreen(detector, screen.show) as shown:
        list(Batch(detector, shown).run([Source("0", "camera")]))
    assert "face 0: AU" in console.export_text()


def test_names_of_overlays_are_given_away_at_once(tmp_path: Path) -> None:
    """Whichever inputs are still to be done, and never an input's own."""
    sources = [Source(str(tmp_path / name), "image") for name in ("x.png", "sub/x.png", "x_overlay.png")]
    for done in range(3):
        overlays = Overlays(tmp_path, True, sources)
        found = [overlays.path(source).name for source in sources[done:]]
        assert found == ["x_png_overlay.png", "sub_x_overlay.png", "x_overlay_overlay.png"][done:]
