"""Tracks through clips composed of real portraits that move."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import cv2
import numpy as np
import pytest
import skimage.data

from openau.faces import FaceFinder, Tracker
from openau.faces.detect import overlap
from openau.faces.subject import SubjectTracker

pytestmark = pytest.mark.weights

WIDTH, HEIGHT = 960, 540
Place = tuple[int, int] | None


@pytest.fixture(scope="module")
def backdrop() -> np.ndarray:
    return cv2.resize(skimage.data.coffee(), (WIDTH, HEIGHT))


@pytest.fixture(scope="module")
def head(astronaut: np.ndarray) -> np.ndarray:
    """(240, 240, 3), the face about 90 pixels wide."""
    return cv2.resize(astronaut[0:260, 100:360], (240, 240))


@pytest.fixture(scope="module")
def second(hopper: np.ndarray) -> np.ndarray:
    return cv2.resize(hopper[40:440, 60:460], (200, 200))


def clip(backdrop: np.ndarray, frames: int, *actors: tuple[np.ndarray, Callable[[int], Place]]) -> Iterator[np.ndarray]:
    for index in range(frames):
        image = backdrop.copy()
        for picture, path in actors:
            place = path(index)
            if place is not None:
                x, y = place
                image[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
        yield image


def test_a_face_that_crosses_the_picture_keeps_its_number(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray
) -> None:
    tracker = Tracker(finder)
    (reference,) = finder.find(head)
    for index, image in enumerate(clip(backdrop, 45, (head, lambda i: (10 + 15 * i, 40 + 5 * i)))):
        (tracked,) = tracker.update(image)
        assert tracked.id == 0
        expected = np.add(reference.box, [10 + 15 * index, 40 + 5 * index, 0, 0])
        assert overlap(tracked.face.box, expected) > 0.85


def test_a_brief_loss_keeps_the_number_and_a_long_one_ends_it(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray
) -> None:
    def path(gone: range) -> Callable[[int], Place]:
        return lambda i: None if i in gone else (100 + 4 * i, 100)

    for gone, ids in ((range(10, 12), {0}), (range(10, 22), {0, 1})):
        tracker = Tracker(finder, memory=0)
        seen = set()
        for index, image in enumerate(clip(backdrop, 40, (head, path(gone)))):
            found = tracker.update(image)
            if index in gone:
                assert found == []
            seen |= {t.id for t in found}
        assert seen == ids
        assert len(found) == 1


def test_a_brief_loss_is_over_at_once(finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray) -> None:
    tracker = Tracker(finder)
    hidden = (10, 11)
    for index, image in enumerate(clip(backdrop, 16, (head, lambda i: None if i in hidden else (100, 100)))):
        assert len(tracker.update(image)) == (index not in hidden)


@pytest.mark.parametrize("scale", [1.0, 0.45])
def test_a_new_face_appears_within_a_third_of_a_second(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray, scale: float
) -> None:
    newcomer = cv2.resize(head, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)  # at .45 the face has 42 pixels
    for entry in (5, 8, 12):
        tracker = Tracker(finder)
        appeared = None
        actors = (second, lambda i: (40, 60)), (newcomer, lambda i, at=entry: (620, 250) if i >= at else None)
        for index, image in enumerate(clip(backdrop, entry + 10, *actors)):
            ids = [t.id for t in tracker.update(image)]
            assert ids in ([0], [0, 1])
            if ids == [0, 1] and appeared is None:
                appeared = index
        assert appeared is not None
        assert appeared - entry <= 9


def test_two_faces_keep_their_numbers_while_they_pass_above_each_other(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
) -> None:
    tracker = Tracker(finder)
    actors = (second, lambda i: (20 + 14 * i, 10)), (head, lambda i: (700 - 14 * i, 280))
    for image in clip(backdrop, 45, *actors):
        tracked = {t.id: t.face for t in tracker.update(image)}
        assert set(tracked) == {0, 1}
        upper, lower = sorted(tracked, key=lambda i: tracked[i].box[1])
        assert (upper, lower) == (0, 1)  # the larger face, above, came first


def test_numbers_start_with_the_largest(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
) -> None:
    (image,) = clip(backdrop, 1, (head, lambda i: (20, 20)), (second, lambda i: (500, 200)))
    found = Tracker(finder).update(image)
    assert [t.id for t in found] == [0, 1]
    assert found[0].face.box[2] > found[1].face.box[2]


def test_a_closeup_that_needs_a_margin_is_found_later_in_a_video(finder: FaceFinder, hopper: np.ndarray) -> None:
    (whole,) = finder.find(hopper)
    x, y, width, height = (int(v) for v in whole.box)
    closeup = hopper[y + height // 6 : y + 5 * height // 6, x + width // 6 : x + 5 * width // 6]
    filled = np.ascontiguousarray(cv2.resize(closeup, (480, 480)))
    assert finder.detector.scan(filled) == []  # without a margin the detector does not see it
    tracker = Tracker(finder)
    frames = [np.zeros_like(filled)] * 3 + [filled] * 9
    assert [t.id for t in [tracker.update(frame) for frame in frames][-1]] == [0]


def test_max_faces_bounds_the_tracks(backdrop: np.ndarray, head: np.ndarray, second: np.ndarray) -> None:
    tracker = Tracker(FaceFinder(max_faces=1))
    actors = (second, lambda i: (20, 20) if i >= 3 else None), (head, lambda i: (500, 200))
    for image in clip(backdrop, 20, *actors):
        assert [t.id for t in tracker.update(image)] == [0]


def test_a_track_does_not_outlive_a_cut_to_something_else(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray
) -> None:
    tracker = Tracker(finder)
    for index, image in enumerate(clip(backdrop, 12, (head, lambda i: (300, 100) if i < 4 else None))):
        assert bool(tracker.update(image)) == (index < 4)


def people(
    tracker: Tracker | SubjectTracker, frames: Iterator[np.ndarray], *paths: Callable[[int], Place]
) -> list[dict[int, int]]:
    """Of each frame, actor → number of its face; an actor's face has its middle within 60 pixels of where it is, about."""
    told = []
    for index, image in enumerate(frames):
        found = {}
        for tracked in tracker.update(image):
            middle = tracked.face.box[:2] + tracked.face.box[2:] / 2
            near = {
                actor: float(np.abs(middle - np.add(place, (115, 115))).max())
                for actor, path in enumerate(paths)
                if (place := path(index)) is not None
            }
            if near and min(near.values()) < 60:
                found[min(near, key=near.__getitem__)] = tracked.id
        told.append(found)
    return told


def test_a_face_that_leaves_and_comes_back_elsewhere_has_its_old_number(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
) -> None:
    def away(index: int) -> Place:
        return (60, 40) if index < 15 else (650, 250) if index >= 30 else None

    told = people(Tracker(finder), clip(backdrop, 45, (head, away)), away)
    assert {ids.get(0) for ids in told[:15]} == {0}
    assert {ids.get(0) for ids in told[42:]} == {0}


def test_somebody_else_has_a_new_number_even_in_the_same_place(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
) -> None:
    tracker = Tracker(finder)
    actors = (head, lambda i: (300, 100) if i < 12 else None), (second, lambda i: (310, 110) if i >= 24 else None)
    ids = [[t.id for t in tracker.update(image)] for image in clip(backdrop, 40, *actors)]
    assert ids[5] == [0]
    assert ids[-1] == [1]


@pytest.mark.parametrize("front", [0, 1])
def test_two_faces_keep_their_numbers_while_one_passes_before_the_other(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray, front: int
) -> None:
    def right(index: int) -> Place:
        return (20 + 16 * index, 90)

    def left(index: int) -> Place:
        return (680 - 16 * index, 110)

    actors = [(second, left), (head, right)] if front else [(head, right), (second, left)]
    told = people(Tracker(finder), clip(backdrop, 42, *actors), right, left)
    before, after = told[3], told[-1]
    assert len(before) == len(after) == 2
    assert before == after


def test_a_face_hidden_for_seconds_has_its_old_number(
    finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
) -> None:
    """Two people sit; something passes slowly before one of them."""
    wall = np.full((300, 260, 3), (90, 60, 40), np.uint8)
    places = (lambda i: (60, 100)), (lambda i: (620, 120))
    actors = (head, places[0]), (second, places[1]), (wall, lambda i: (40, 80) if 10 <= i < 70 else None)
    told = people(Tracker(finder), clip(backdrop, 85, *actors), *places)
    assert told[5] == told[-1]
    assert 0 not in told[40]


class TestSubjectTracker:
    def test_a_smaller_passer_by_is_dropped_and_the_subject_is_always_face_0(
        self, finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
    ) -> None:
        small = cv2.resize(second, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        tracker = SubjectTracker(Tracker(finder))
        gone = range(25, 34)
        actors = (
            (head, lambda i: (100, 100) if i < 25 else None if i in gone else (400, 150)),
            (small, lambda i: (620 + 4 * i, 60)),
        )
        for index, image in enumerate(clip(backdrop, 50, *actors)):
            tracked = tracker.update(image)
            assert [t.id for t in tracked] == ([] if not tracked else [0])
            assert bool(tracked) == (index not in gone) or 34 <= index < 45  # found again within a third of a second
            if tracked:
                assert tracked[0].face.box[0] < 600

    def test_whoever_sits_down_before_the_camera_takes_over_from_a_passer_by(
        self, finder: FaceFinder, backdrop: np.ndarray, head: np.ndarray, second: np.ndarray
    ) -> None:
        small = cv2.resize(second, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
        tracker = SubjectTracker(Tracker(finder))
        actors = (small, lambda i: (700, 60)), (head, lambda i: (100, 100) if i >= 10 else None)
        faces = [tracker.update(image) for image in clip(backdrop, 30, *actors)]
        assert faces[5][0].face.box[0] > 600
        assert faces[-1][0].face.box[0] < 400
        assert all(len(found) == 1 and found[0].id == 0 for found in faces)
