"""Events of series worked out by hand, and of random ones beside a second way to find them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openau.result import NO_FACE, AUColumns, Faces
from openau.temporal import Event, EventRule, EventStream, events_of, find_events

NAN = math.nan


def times(count: int, rate: float = 25.0) -> np.ndarray:
    return np.arange(count) / rate


def spans(events: list[Event]) -> list[tuple[float, float, float]]:
    return [(round(e.onset, 6), round(e.apex, 6), round(e.offset, 6)) for e in events]


def test_one_smile() -> None:
    probability = np.array([0.1, 0.45, 0.6, 0.9, 0.8, 0.45, 0.3, 0.1])
    (smile,) = find_events(times(8), probability, au=12, face_id=3, source="a.mp4")
    assert spans([smile]) == [(0.08, 0.12, 0.24)]  # from the first frame of at least 0.5 to the first below 0.4
    assert (smile.onset_frame, smile.apex_frame, smile.last_frame, smile.frames) == (2, 3, 5, 4)
    assert smile.duration == pytest.approx(0.16)
    assert smile.peak == pytest.approx(0.9)
    assert smile.mean == pytest.approx((0.6 + 0.9 + 0.8 + 0.45) / 4)
    assert (smile.au, smile.face_id, smile.source) == (12, 3, "a.mp4")
    assert math.isnan(smile.peak_intensity)
    assert not smile.starts_unseen
    assert not smile.ends_unseen


def test_intensity_says_where_the_apex_is() -> None:
    probability = np.array([0.1, 0.9, 1.0, 0.9, 0.1])
    (event,) = find_events(times(5), probability, np.array([0, 1.0, 2.0, 3.5, 0]))
    assert event.apex_frame == 3
    assert event.peak_intensity == 3.5
    assert event.peak == 1.0


def test_flicker_around_the_threshold_is_one_event() -> None:
    flicker = np.r_[0.1, np.tile([0.52, 0.47], 20), 0.1]
    assert len(find_events(times(42), flicker)) == 1
    assert len(find_events(times(42), flicker, rule=EventRule(leave=0.5, gap=0, minimum=0))) == 20


@pytest.mark.parametrize(("away", "count"), [(2, 1), (3, 2)])
def test_a_short_interruption_does_not_break_an_event_and_a_longer_one_does(away: int, count: int) -> None:
    probability = np.r_[0.1, [0.9] * 5, [0.1] * away, [0.9] * 5, 0.1]  # 0.08 or 0.12 seconds, of 0.1 allowed
    found = find_events(times(len(probability)), probability)
    assert len(found) == count
    assert found[0].onset == pytest.approx(0.04)
    assert found[-1].offset == pytest.approx((11 + away) / 25)
    if count == 1:
        assert found[0].frames == 10


@pytest.mark.parametrize(("frames", "count"), [(1, 0), (2, 1)])
def test_what_is_too_short_is_left_out(frames: int, count: int) -> None:
    probability = np.r_[0.1, [0.9] * frames, [0.1] * 5]
    assert len(find_events(times(len(probability)), probability)) == count


def test_a_lost_face_interrupts_an_event_or_ends_it_unseen() -> None:
    brief = np.r_[0.1, [0.9] * 5, [NAN] * 2, 0.45, [0.9] * 5, [0.1] * 5]
    (event,) = find_events(times(len(brief)), brief)
    assert event.frames == 11
    assert not event.ends_unseen
    long = np.r_[0.1, [0.9] * 5, [NAN] * 10, [0.9] * 5, [0.1] * 5]
    first, second = find_events(times(len(long)), long)
    assert first.offset == pytest.approx(6 / 25)  # the first frame in which it is not seen
    assert (first.starts_unseen, first.ends_unseen) == (False, True)
    assert (second.starts_unseen, second.ends_unseen) == (True, False)


def test_a_face_that_comes_back_without_the_au_ends_the_event_where_it_was_lost() -> None:
    probability = np.r_[0.1, [0.9] * 5, [NAN] * 2, [0.1] * 5]
    (event,) = find_events(times(len(probability)), probability)
    assert event.offset == pytest.approx(6 / 25)
    assert event.ends_unseen


def test_an_event_that_lasts_to_the_end_of_the_recording() -> None:
    (event,) = find_events(times(5), np.full(5, 0.9))
    assert (event.onset, event.offset) == (0, pytest.approx(0.2))
    assert event.starts_unseen
    assert event.ends_unseen


def test_times_may_be_uneven() -> None:
    (event,) = find_events(np.array([0, 1.0, 1.5, 1.55, 9.0]), np.array([0.1, 0.9, 0.9, 0.9, 0.1]))
    assert (event.onset, event.offset) == (1.0, 9.0)


def test_wrong_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="differ"):
        find_events(times(3), np.zeros(4))
    with pytest.raises(ValueError, match="does not come after"):
        find_events(np.array([0, 1.0, 1.0]), np.zeros(3))
    with pytest.raises(ValueError, match="thresholds"):
        EventRule(enter=0.4, leave=0.5)
    with pytest.raises(ValueError, match="seconds"):
        EventRule(gap=-1)


def second_way(times: np.ndarray, p: np.ndarray, rule: EventRule) -> list[tuple[int, int]]:
    """First and last frame of each event, with the whole series at hand: hysteresis, then gaps, then durations."""
    shown = np.zeros(len(p), bool)
    runs: list[list[int]] = []  # first frame, last frame, frame behind it
    on = False
    for n, value in enumerate(p):
        on = value >= rule.leave if on else value >= rule.enter
        shown[n] = on
    for n in np.flatnonzero(shown):
        if runs and n == runs[-1][1] + 1:
            runs[-1][1] = n
        else:
            # Frames that only reach `leave` go on with an event which nothing but blind frames interrupted.
            runs.append([n, n])
    joined: list[list[int]] = []
    for first, last in runs:
        if joined and times[first] - times[joined[-1][1] + 1] <= rule.gap + 1e-6:
            joined[-1][1] = last
        else:
            joined.append([first, last])
    step = times[-1] - times[-2]
    ends = np.r_[times, times[-1] + step]
    return [(a, b) for a, b in joined if ends[b + 1] - times[a] >= rule.minimum - 1e-6]


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.sampled_from([0.1, 0.42, 0.45, 0.6, 0.9]), min_size=2, max_size=60),
    st.sampled_from([0.0, 0.04, 0.1, 0.3]),
    st.sampled_from([0.0, 0.08, 0.2]),
)
def test_random_series_without_losses_agree_with_a_second_way(p: list[float], gap: float, minimum: float) -> None:
    rule = EventRule(gap=gap, minimum=minimum)
    found = find_events(times(len(p)), np.array(p), rule=rule)
    assert [(e.onset_frame, e.last_frame) for e in found] == second_way(times(len(p)), np.array(p), rule)


COLUMNS = AUColumns((4, 12), (12,))


def table(rows: list[tuple[int, int, float, float, float]], source: str = "clip") -> Faces:
    """Rows of frame, face_id, AU04, AU12, AU12_i, at 25 frames per second."""
    n = len(rows)
    data = np.array(rows, np.float64).reshape(n, 5)
    return Faces(
        COLUMNS, np.full(n, source, object), data[:, 0].astype(np.int64), data[:, 0] / 25, data[:, 1].astype(np.int64),
        np.ones(n, np.float32), np.zeros((n, 4), np.float32), np.zeros((n, 3), np.float32), data[:, 2:].astype(np.float32),
    )  # fmt: skip


def two_people(frames: int = 40) -> Faces:
    """Face 0 smiles in frames 5–14; face 1 is there in frames 0–9 and 20–29 and frowns throughout; 30–39 show nobody but face 0."""
    rows = []
    for frame in range(frames):
        smiling = 5 <= frame < 15
        rows.append((frame, 0, 0.1, 0.9 if smiling else 0.1, 3.0 if smiling else 0.0))
        if frame < 10 or 20 <= frame < 30:
            rows.append((frame, 1, 0.8, 0.1, 0.0))
    return table(rows)


def test_faces_and_aus_are_kept_apart() -> None:
    found = events_of(two_people())
    assert [(e.face_id, e.au, e.onset_frame, e.last_frame) for e in found] == [
        (1, 4, 0, 9),
        (0, 12, 5, 14),
        (1, 4, 20, 29),
    ]
    assert [(e.starts_unseen, e.ends_unseen) for e in found] == [(True, True), (False, False), (True, True)]
    assert found[1].peak_intensity == 3.0


def test_frames_without_any_face_are_frames_without_the_face() -> None:
    rows = [(n, 0, 0.9, 0.1, 0.0) if n < 10 else (n, NO_FACE, NAN, NAN, NAN) for n in range(20)]
    (event,) = events_of(table(rows))
    assert (event.last_frame, event.offset, event.ends_unseen) == (9, pytest.approx(0.4), True)


def test_sources_do_not_run_into_each_other() -> None:
    rows = [(n, 0, 0.9, 0.1, 0.0) for n in range(10)]
    found = events_of(Faces.concatenate([table(rows, "b"), table(rows, "a")]))
    assert [(e.source, e.onset_frame, e.last_frame) for e in found] == [("b", 0, 9), ("a", 0, 9)]
    assert events_of(table([])) == []


def test_a_stream_tells_events_as_they_end_and_forgets_faces_that_are_gone() -> None:
    faces = two_people()
    stream = EventStream(COLUMNS)
    told: dict[int, list[int]] = {}
    for frame in range(40):
        for event in stream.add(faces[faces.frame == frame]):
            told.setdefault(frame, []).append(event.au)
    assert told == {13: [4], 18: [12], 33: [4]}  # `gap` after the offset: 0.1 s, the third frame behind it
    assert len(stream._finders) == 1
    assert stream.finish() == []


def test_a_still_picture_has_no_events() -> None:
    assert events_of(table([(0, 0, 0.9, 0.9, 3.0)])) == []
