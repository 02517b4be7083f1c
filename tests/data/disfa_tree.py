"""A look-alike of DISFA: a short video and twelve label files for each of 27 people who are nobody."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from bp4d_tree import Codes, mixed
from people import SIZE, Size, person_frames, write_picture, write_video

SUBJECTS = tuple(
    f"SN{n:03d}"
    for n in (1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 16, 17, 18, 21, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32)
)
AUS = (1, 2, 4, 5, 6, 9, 12, 15, 17, 20, 25, 26)


def make(
    root: Path,
    *,
    subjects: Sequence[str] = SUBJECTS,
    frames: int = 8,
    first_frame: int = 1,
    pictures_from: int | None = None,
    left: str = "Videos_LeftCamera",
    right: bool = False,
    video_frames: int | None = None,
    size: Size = SIZE,
    seed: int = 0,
) -> Path:
    """Write the tree.

    Args:
        root: made if it is not there.
        subjects: these alone.
        frames: coded ones per person.
        first_frame: number of the first coded frame.
        pictures_from: extracted pictures that count from this number, instead of videos.
        left: folder of the left camera's videos.
        right: whether there are videos of the right camera, too.
        video_frames: in a video, by default as many as are coded (from frame 1 on).
        size: of the frames.
        seed: of the labels.
    """
    for subject in subjects:
        who = SUBJECTS.index(subject)
        rng = np.random.default_rng([seed, who])
        numbers = np.arange(first_frame, first_frame + frames)
        write_labels(root, subject, numbers, {number: intensities(rng, frames) for number in AUS})
        shown = person_frames(who, video_frames or first_frame - 1 + frames, size)
        if pictures_from is None:
            write_video(root / left / f"LeftVideo{subject}_comp.avi", shown, 20)
        else:
            for number, frame in enumerate(shown, pictures_from):
                write_picture(root / "frames" / f"LeftVideo{subject}_comp" / f"{number:05d}.jpg", frame)
        if right:
            write_video(root / "Video_RightCamera" / f"RightVideo{subject}_comp.avi", shown, 20)
    return root


def intensities(rng: np.random.Generator, count: int) -> Codes:
    """0–1 where an AU does not count as present, 2–5 where it does; both, where there is room."""
    present = mixed(rng, count)
    return np.where(present == 1, rng.integers(2, 6, count), rng.integers(0, 2, count))


def write_labels(root: Path, subject: str, numbers: Codes, grades: dict[int, Codes]) -> None:
    """Write a person's label files."""
    folder = root / "ActionUnit_Labels" / subject
    folder.mkdir(parents=True, exist_ok=True)
    for number, column in grades.items():
        lines = [f"{frame},{code}" for frame, code in zip(numbers.tolist(), column.tolist(), strict=True)]
        (folder / f"{subject}_au{number}.txt").write_text("\n".join(lines) + "\n")
