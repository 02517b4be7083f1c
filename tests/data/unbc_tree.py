"""Look-alike UNBC-McMaster archive: a picture, a FACS file and a PSPI file per frame, in the published layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import facs_files
import people

Codes = Mapping[int, float]

SEQUENCES: Mapping[str, Sequence[Codes]] = {
    "042-ll042/ll042t1aaaff": ({}, {4: 2, 6: 3, 7: 1}, {4: 5, 7: 4, 9: 1, 10: 2, 43: 1}),
    "042-ll042/ll042t1aaunaff": ({}, {12: 3, 25: 2}),
    "043-jh043/jh043t1afaff": ({6: 1}, {}, {20: 2, 26: 1}),
    "052-dr052/dr052t2aiaff": ({12: 1}, {10: 2, 12: 4}),
}


def pspi(codes: Codes) -> float:
    """The Prkachin–Solomon score."""
    return (
        codes.get(4, 0)
        + max(codes.get(6, 0), codes.get(7, 0))
        + max(codes.get(9, 0), codes.get(10, 0))
        + codes.get(43, 0)
    )


def make(
    root: Path,
    *,
    sequences: Mapping[str, Sequence[Codes]] = SEQUENCES,
    scores: bool = True,
    without_picture: Sequence[tuple[str, int]] = (),
    without_label: Sequence[tuple[str, int]] = (),
) -> Path:
    """Write a tree; `scores` = with PSPI files; the others are (sequence, frame from 1)."""
    for subject, (name, frames) in enumerate(sequences.items()):
        sequence = name.split("/")[1]
        for number, (codes, picture) in enumerate(
            zip(frames, people.person_frames(subject, len(frames)), strict=True), 1
        ):
            stem = f"{sequence}{number:03d}"
            if (name, number) not in without_picture:
                people.write_picture(root / "Images" / name / f"{stem}.png", picture)
            if (name, number) not in without_label:
                lines = [(au, value, 0.0, 0.0) for au, value in codes.items()]
                facs_files.write(root / "Frame_Labels" / "FACS" / name / f"{stem}_facs.txt", lines)
            if scores:
                facs_files.write(root / "Frame_Labels" / "PSPI" / name / f"{stem}_facs.txt", [(pspi(codes),)])
    return root
