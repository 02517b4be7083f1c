"""`openau demo`."""

from __future__ import annotations

import csv
from pathlib import Path

import av
import pytest
from typer.testing import CliRunner

from openau import demo
from openau.cli import app

pytestmark = pytest.mark.weights


def test_the_demo_says_what_it_saw_and_where_it_is(
    model: Path, media: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("openau.cli.demo.CLIP", media / "two.mp4")
    done = CliRunner().invoke(app, ["demo", "--model", str(model), "-o", str(tmp_path / "here")])
    assert done.exit_code == 0, done.output
    assert "20 frames" in done.output
    assert "lip corner puller" in done.output
    table, clip = tmp_path / "here" / "demo.csv", tmp_path / "here" / "demo_overlay.mp4"
    assert str(table) in done.output.replace("\n", "")
    assert str(clip) in done.output.replace("\n", "")
    with table.open(newline="") as file:
        frames = {int(row["frame"]) for row in csv.DictReader(file)}
    assert frames == set(range(20))
    with av.open(str(clip)) as video:
        assert len(list(video.decode(video=0))) == 20


def test_a_missing_clip_is_one_sentence(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("openau.cli.demo.CLIP", tmp_path / "gone.mp4")
    done = CliRunner().invoke(app, ["demo", "--model", str(model), "-o", str(tmp_path)])
    assert done.exit_code == 1
    assert "gone.mp4" in done.output


@pytest.mark.skipif(not demo.CLIP.is_file(), reason="the clip is rendered with the trained model's release")
def test_the_shipped_clip_is_small_and_plays() -> None:
    assert demo.CLIP.stat().st_size <= 1_000_000
    with av.open(str(demo.CLIP)) as video:
        assert sum(1 for _ in video.decode(video=0)) >= 30
