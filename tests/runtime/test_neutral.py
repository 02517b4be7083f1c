"""`--calibrate` on series whose resting face is known."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from random_model import AUS, INTENSITY, SIDED

from openau.media import Frame
from openau.result import AUColumns, Faces
from openau.runtime.detector import Observation
from openau.runtime.network import Prediction
from openau.runtime.neutral import MAX_RAISE, MIN_FRAMES, QUANTILE, resting_logits, take_out, take_out_intensity
from openau.runtime.passes import Notes

COLUMNS = AUColumns(AUS, INTENSITY, SIDED)
USUAL = -2.0


def series(rest: float, active: float, share: float, frames: int = 400, noise: float = 0.05) -> np.ndarray:
    """A logit that rests at `rest` and is `active` in a share of the frames (the last ones)."""
    rng = np.random.default_rng(5)
    logits = np.full(frames, rest) + rng.normal(0, noise, frames)
    logits[frames - round(share * frames) :] = active + rng.normal(0, noise, round(share * frames))
    return logits[:, None].astype(np.float32)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.8])
def test_the_resting_logit_is_found_however_often_the_au_is_active(share: float) -> None:
    assert resting_logits(series(0.7, 4.0, share))[0] == pytest.approx(0.7, abs=0.15)


def test_blinks_and_bad_frames_do_not_move_it() -> None:
    logits = series(-1.0, 3.0, 0.3)
    logits[:: round(1 / 0.05)] = -12  # 5 % of the frames are broken
    assert resting_logits(logits)[0] == pytest.approx(-1.0, abs=0.15)


def test_a_low_brow_stops_being_au4_and_a_frown_stays_one() -> None:
    logits = series(rest=0.8, active=4.0, share=0.3)  # at rest, already "present"
    usual = np.array([USUAL], np.float32)
    moved = take_out(logits, resting_logits(logits), usual)
    assert (logits[:200] > 0).all()
    assert moved[:200].mean() == pytest.approx(USUAL, abs=0.15)
    assert (moved[:200] < 0).all()
    assert (moved[-100:] > 0).all()
    np.testing.assert_allclose(np.diff(moved, axis=0), np.diff(logits, axis=0), atol=1e-5)


def test_a_sure_absence_is_raised_only_a_little() -> None:
    logits = series(rest=-9, active=-9, share=0)
    moved = take_out(logits, resting_logits(logits), np.array([USUAL], np.float32))
    assert (moved - logits).max() == pytest.approx(MAX_RAISE, abs=1e-5)


def test_failure_case_a_smile_that_never_ends_disappears() -> None:
    """Stated in the documentation: who never relaxes an AU loses it."""
    logits = series(rest=-2, active=3, share=0.95)
    moved = take_out(logits, resting_logits(logits), np.array([USUAL], np.float32))
    assert (moved[-380:] < 0).all()


def test_intensity_is_stretched_from_rest_to_five() -> None:
    out = take_out_intensity(np.array([[0.5], [1.0], [3.0], [5.0]], np.float32), np.array([1.0], np.float32))
    np.testing.assert_allclose(out.ravel(), [0, 0, 2.5, 5], atol=1e-6)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one frame"):
        resting_logits(np.zeros((0, 3), np.float32))
    with pytest.raises(ValueError, match="quantile"):
        resting_logits(np.zeros((4, 3), np.float32), 1.5)


def observation(index: int, people: dict[int, float]) -> Observation:
    """Each person with all logits at one value; without people, a frame without a face."""
    frame = Frame(index, index / 25, np.zeros((4, 4, 3), np.uint8))
    n = len(people)
    values = np.array(list(people.values()), np.float32)[:, None]
    widths = {"occurrence": len(AUS), "intensity": len(INTENSITY), "left": len(SIDED), "right": len(SIDED)}
    prediction = Prediction(**{name: np.repeat(values, width, 1).reshape(n, width) for name, width in widths.items()})
    if not people:
        return Observation(frame, Faces.no_face(COLUMNS, "a.mp4", index, frame.time), prediction)
    faces = Faces(
        columns=COLUMNS,
        source=np.full(n, "a.mp4", object),
        frame=np.full(n, index),
        timestamp=np.full(n, frame.time),
        face_id=np.array(list(people)),
        score=np.ones(n, np.float32),
        box=np.arange(4 * n, dtype=np.float32).reshape(n, 4),
        pose=np.zeros((n, 3), np.float32),
        values=prediction.values(),
        landmarks=np.full((n, 468, 3), index, np.float32),
    )
    return Observation(frame, faces, prediction)


def test_two_passes_calibrate_each_person_apart_and_leave_brief_ones_alone() -> None:
    usual = observation(0, {0: USUAL}).prediction
    frames = MIN_FRAMES + 20
    seen = []
    for index in range(frames):
        people = {0: 1.0 if index < frames * 0.6 else 4.0, 3: -2.5}  # person 0 rests high, person 3 low
        if index in (5, 6):
            people = {}
        if index in (30, 31):
            people[7] = 1.5  # seen twice
        seen.append(observation(index, people))
    with Notes(COLUMNS) as notes:
        for one in seen:
            notes.add(one)
        assert notes.people(usual) == {0: frames - 2, 3: frames - 2, 7: 2}
        written = list(notes.frames("a.mp4"))
    assert [int(f.frame[0]) for f in written] == list(range(frames))
    assert not written[5].has_face.any()
    for before, after in zip(seen, written, strict=True):
        assert after.face_id.tolist() == before.faces.face_id.tolist()
        np.testing.assert_array_equal(after.box, before.faces.box)
        for row, person in enumerate(after.face_id):
            logit = float(before.prediction.occurrence[row, 0]) if person >= 0 else 0.0
            shift = {0: USUAL - 1.0, 3: USUAL + 2.5, 7: 0.0}.get(int(person), 0.0)
            if person >= 0:
                assert after.column("AU06")[row] == pytest.approx(1 / (1 + np.exp(-(logit + shift))), abs=1e-5)
                assert after.column("AU12_L")[row] == pytest.approx(1 / (1 + np.exp(-(logit + shift))), abs=1e-5)
    assert 0.1 <= QUANTILE <= 0.2


def test_landmarks_are_kept_for_an_overlay() -> None:
    with Notes(COLUMNS, landmarks=True) as notes:
        for index in range(3):
            notes.add(observation(index, {0: 1.0}))
        notes.people(observation(0, {0: USUAL}).prediction)
        kept = [f.landmarks for f in notes.frames("a.mp4")]
    assert [float(points[0, 0, 0]) for points in kept if points is not None] == [0, 1, 2]


def test_notes_leave_no_file_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Notes(COLUMNS) as notes:
        notes.add(observation(0, {0: 1.0}))
    assert list(tmp_path.iterdir()) == []
