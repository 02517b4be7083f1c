"""A look-alike of DISFA+: nine people who are nobody in a few trials, label files with a header, a picture's name and blanks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from disfa_tree import AUS, intensities
from people import SIZE, Size, person_frames, write_picture

SUBJECTS = ("SN001", "SN003", "SN004", "SN007", "SN009", "SN010", "SN013", "SN025", "SN027")
TRIALS = ("A1_AU1_TrailNo_1", "Y_HappyDescribed_TrailNo_1")


def make(
    root: Path,
    *,
    subjects: Sequence[str] = SUBJECTS,
    trials: Sequence[str] = TRIALS,
    frames: int = 4,
    doubled: bool = False,
    header: bool = True,
    size: Size = SIZE,
    seed: int = 0,
) -> Path:
    """Write the tree.

    Args:
        root: made if it is not there.
        subjects: these alone.
        trials: names of each person's trials.
        frames: per trial; pictures count from 000.
        doubled: whether unpacking has put every person's folder into one of the same name.
        header: whether label files have their two header lines.
        size: of the pictures.
        seed: of the labels.
    """
    for subject in subjects:
        who = SUBJECTS.index(subject)
        rng = np.random.default_rng([seed, who])
        shown = person_frames(200 + who, frames * len(trials), size)
        place = Path(subject, subject) if doubled else Path(subject)
        grades = {number: intensities(rng, frames * len(trials)) for number in AUS}
        for index, trial in enumerate(trials):
            part = slice(index * frames, (index + 1) * frames)
            labels = root / "Labels" / place / trial
            labels.mkdir(parents=True)
            for number, column in grades.items():
                lines = [f"{frame:03d}.jpg     {code}" for frame, code in enumerate(column[part].tolist())]
                top = ["# Intensity of an action unit", "# picture     intensity"] if header else []
                (labels / f"AU{number}.txt").write_text("\n".join([*top, *lines]) + "\n")
            for number, frame in enumerate(shown[part]):
                write_picture(root / "Images" / place / trial / f"{number:03d}.jpg", frame)
    return root
