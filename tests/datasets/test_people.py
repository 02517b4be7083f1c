"""The people of the look-alike data sets can be found, and are not one another."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path

import numpy as np
import people
import pytest

from openau.faces.finder import FaceFinder
from openau.media import open_video, read_image


@pytest.fixture(scope="module")
def finder() -> FaceFinder:
    return FaceFinder()


@pytest.mark.weights
@pytest.mark.parametrize("size", [people.SIZE, (640, 480), (200, 260)])
def test_a_face_is_found_in_every_frame_of_everybody(finder: FaceFinder, size: tuple[int, int]) -> None:
    for subject in range(8):
        for frame in people.person_frames(subject, 3, size):
            assert frame.shape == (size[1], size[0], 3)
            faces = finder.find(frame)
            assert len(faces) == 1
            assert faces[0].score > 0.9


@pytest.mark.weights
def test_noise_has_no_face(finder: FaceFinder) -> None:
    assert not any(finder.find(people.noise(seed=seed)) for seed in range(5))


def test_people_differ_and_stay_themselves() -> None:
    first = {subject: people.person_frames(subject, 2) for subject in range(6)}
    for a, b in combinations(first, 2):
        assert np.abs(first[a][0].astype(int) - first[b][0]).mean() > 10
    for subject, frames in first.items():
        np.testing.assert_array_equal(frames, people.person_frames(subject, 2))
        assert 0 < np.abs(frames[0].astype(int) - frames[1]).mean() < 5


@pytest.mark.parametrize("name", ["clip.mp4", "clip.avi"])
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    frames = people.person_frames(1, 12)
    with open_video(people.write_video(tmp_path / "folder" / name, frames, 20)) as video:
        read = [frame.image for frame in video]
    assert len(read) == 12
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(frames, read, strict=True)) < 6
    np.testing.assert_array_equal(read_image(people.write_picture(tmp_path / "still.png", frames[0])), frames[0])
