"""A clip's AUs come and go as planned, and its table says so frame by frame."""

from __future__ import annotations

import csv
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from openau.errors import OutputError, UsageError
from openau.synth.clip import EPISODES, WIDTH, activation_at, render_clip


def test_every_episode_peaks_where_it_should_on_both_sides() -> None:
    for peak, aus in EPISODES:
        activation = activation_at(peak)
        assert activation == pytest.approx({(number, side): level for number, level in aus.items() for side in "LR"} | {
            key: 0.0 for key in activation if key[0] not in aus
        })  # fmt: skip


def test_between_episodes_the_face_rests() -> None:
    peaks = [peak for peak, _ in EPISODES]
    between = [0.0, *((a + b) / 2 for a, b in pairwise(peaks)), 1.0]
    assert min(abs(moment - peak) for moment in between for peak in peaks) > WIDTH
    for moment in between:
        assert set(activation_at(moment).values()) == {0.0}


def test_episodes_rise_and_fall_smoothly() -> None:
    levels = np.array([activation_at(moment)[12, "L"] for moment in np.linspace(0, 0.2, 401)])
    peak = levels.argmax()
    assert (np.diff(levels[: peak + 1]) >= 0).all()
    assert (np.diff(levels[len(levels) - 1 - peak :]) <= 0).all()
    assert np.abs(np.diff(levels)).max() < 0.03
    assert levels == pytest.approx(levels[::-1], abs=1e-9)


@pytest.mark.slow
@pytest.mark.weights
def test_a_second_of_video_and_its_table(tmp_path: Path) -> None:
    out = tmp_path / "clip.mp4"
    done = list(render_clip(out, seconds=1, fps=10, rig="anny", seed=3, size=96, assets=None))
    assert done == list(range(10))
    assert sorted(file.name for file in tmp_path.iterdir()) == ["clip.csv", "clip.mp4"]
    with av.open(str(out)) as container:
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    assert [time for time, _ in frames] == pytest.approx([index / 10 for index in range(10)])
    assert {picture.shape for _, picture in frames} == {(96, 96, 3)}
    with (tmp_path / "clip.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["seconds"]) for row in rows] == pytest.approx([index / 10 for index in range(10)])
    for index, row in enumerate(rows):
        expected = activation_at(index / 9)
        assert float(row["AU12_i"]) == pytest.approx(5 * expected.get((12, "L"), 0.0), abs=0.006)
        assert float(row["AU04_i"]) == pytest.approx(5 * expected.get((4, "R"), 0.0), abs=0.006)


@pytest.mark.weights
def test_a_stopped_clip_and_a_missing_folder_leave_nothing(tmp_path: Path) -> None:
    stopped = render_clip(tmp_path / "clip.mp4", seconds=1, fps=10, rig="anny", seed=3, size=64, assets=None)
    next(stopped)
    stopped.close()
    assert list(tmp_path.iterdir()) == []
    missing = tmp_path / "no" / "clip.mp4"
    with pytest.raises(OutputError, match=r"clip\.mp4: cannot be written"):
        next(render_clip(missing, seconds=1, fps=10, rig="anny", seed=3, size=64, assets=None))


def test_odd_sizes_and_other_formats_are_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    for name, size in (("clip.mp4", 97), ("clip.csv", 96)):
        with pytest.raises(UsageError, match=r"even|ends in"):
            next(render_clip(tmp_path / name, seconds=1, fps=10, rig="anny", seed=0, size=size, assets=None))
