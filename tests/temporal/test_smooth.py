"""The filter on series whose onsets and noise are known."""

from __future__ import annotations

import math

import numpy as np
import pytest

from openau.result import NO_FACE, AUColumns, Faces
from openau.temporal import Smoother, smooth

COLUMNS = AUColumns((4, 12), (12,), extra=("blur",))


def frame(index: int, people: dict[int, list[float]]) -> Faces:
    """Rows of one frame: face_id → AU04, AU12, AU12_i, blur."""
    if not people:
        return Faces.no_face(COLUMNS, "clip", index, index / 25)
    n = len(people)
    return Faces(
        COLUMNS, np.full(n, "clip", object), np.full(n, index), np.full(n, index / 25), np.array(list(people)),
        np.ones(n, np.float32), np.zeros((n, 4), np.float32), np.zeros((n, 3), np.float32),
        np.array(list(people.values()), np.float32),
    )  # fmt: skip


def series(values: np.ndarray) -> np.ndarray:
    """AU04 of one face, smoothed."""
    frames = (frame(n, {0: [v, v, v, 7.0]}) for n, v in enumerate(values))
    return np.array([faces.values[0, 0] for faces in smooth(frames, COLUMNS)])


@pytest.mark.parametrize("size", [0.02, 0.3, 1.0])
@pytest.mark.parametrize("noise", [0.0, 0.3, 3.0])
def test_a_step_crosses_its_middle_in_the_same_frame_at_any_size_and_noise(size: float, noise: float) -> None:
    rng = np.random.default_rng(3)
    step = np.r_[np.zeros(10), np.full(10, size)]
    mean = np.mean([series(step + noise * size * rng.normal(size=20)) for _ in range(400 if noise else 1)], axis=0)
    crossed = int(np.argmax(mean >= size / 2))
    assert abs(crossed - 10) <= (noise > 1)  # the mean over 400 series of the largest noise is itself uncertain
    if not noise:
        np.testing.assert_allclose(series(step)[8:12], np.array([0, 0.25, 0.75, 1]) * size, atol=1e-6)


def test_the_variance_of_noise_falls_to_three_eighths() -> None:
    noise = np.random.default_rng(0).normal(size=4000)
    assert np.var(series(noise)) == pytest.approx(0.375, rel=0.06)


def test_a_ramp_and_a_constant_stay_where_they_are() -> None:
    ramp = np.linspace(0, 1, 30)
    np.testing.assert_allclose(series(ramp)[1:-1], ramp[1:-1], atol=1e-6)
    np.testing.assert_allclose(series(np.full(9, 0.7)), 0.7, atol=1e-6)


def test_faces_are_smoothed_apart_and_gaps_are_not_bridged() -> None:
    frames = [
        frame(0, {0: [1, 1, 5, 7], 1: [0, 0, 0, 3]}),
        frame(1, {0: [0, 1, 5, 7]}),
        frame(2, {}),
        frame(3, {1: [1, math.nan, 5, 3], 0: [1, 1, 5, 9]}),
    ]
    done = list(smooth(frames, COLUMNS))
    assert [faces.frame[0] for faces in done] == [0, 1, 2, 3]
    assert done[0].values[0, 0] == pytest.approx((0.5 * 1 + 0.25 * 0) / 0.75)
    assert done[0].values[1, 0] == 0  # its only frame for now
    assert done[1].values[0, 0] == pytest.approx((0.5 * 0 + 0.25 * 1) / 0.75)
    assert done[2].face_id[0] == NO_FACE
    assert done[3].values[0, 0] == 1
    assert math.isnan(done[3].values[0, 1])
    assert [faces.values[0, 3] for faces in done[:2]] == [7, 7]  # what is no AU stays as it is


def test_rows_come_one_frame_late_and_sources_do_not_run_into_each_other() -> None:
    smoother = Smoother(COLUMNS)
    assert smoother.add(frame(0, {0: [0, 0, 0, 0]})) is None
    assert smoother.add(frame(1, {0: [0, 0, 0, 0]})).frame[0] == 0  # type: ignore[union-attr]
    assert smoother.finish().frame[0] == 1  # type: ignore[union-attr]
    assert smoother.finish() is None
    smoother.add(frame(0, {0: [1, 1, 1, 1]}))
    assert smoother.finish().values[0, 0] == 1  # type: ignore[union-attr]
