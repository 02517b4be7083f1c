"""Look-alike CK+: sequences from a neutral face to a coded peak, in the published layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import facs_files
import people


@dataclass(frozen=True)
class Coded:
    frames: int
    codes: Mapping[int, float] | None
    emotion: int | None


SEQUENCES: Mapping[str, Coded] = {
    "S005/001": Coded(5, {9: 4, 15: 2, 17: 0}, 3),
    "S010/002": Coded(4, {1: 3, 2: 3, 5: 5, 27: 0}, 7),
    "S010/006": Coded(3, {6: 1, 12: 4, 25: 3}, None),
    "S999/001": Coded(4, {4: 2, 7: 0, 24: 3}, 1),
}


def make(
    root: Path,
    *,
    sequences: Mapping[str, Coded] = SEQUENCES,
    emotions: bool = True,
    without_pictures: Sequence[str] = (),
    without_peak: Sequence[str] = (),
    labels: tuple[str, str] = ("FACS", "Emotion"),
) -> Path:
    """Write a tree; `without_pictures` and `without_peak` name sequences that lack all pictures or the last."""
    for number, (name, sequence) in enumerate(sequences.items()):
        stem = name.replace("/", "_")
        for frame, picture in enumerate(people.person_frames(number, sequence.frames), 1):
            if name in without_pictures or (name in without_peak and frame == sequence.frames):
                continue
            people.write_picture(root / "cohn-kanade-images" / name / f"{stem}_{frame:08d}.png", picture)
        last = f"{stem}_{sequence.frames:08d}"
        if sequence.codes is not None:
            facs_files.write(root / labels[0] / name / f"{last}_facs.txt", list(sequence.codes.items()))
        if emotions:
            (root / labels[1] / name).mkdir(parents=True, exist_ok=True)
            if sequence.emotion is not None:
                facs_files.write(root / labels[1] / name / f"{last}_emotion.txt", [(sequence.emotion,)])
    return root
