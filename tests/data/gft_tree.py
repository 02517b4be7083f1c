"""Look-alike GFT: a video and a table of AUs per participant, as `openau.datasets.gft` takes them; not the verified published layout."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import people

AUS = (1, 2, 4, 6, 10, 12, 14, 15, 23, 24)


def codes(participant: str, frames: int, aus: Sequence[int] = AUS) -> np.ndarray:
    """(frames, AUs) of 0 and 1, and a 9 in the second frame of the first AU."""
    rng = np.random.default_rng([ord(letter) for letter in participant])
    values = rng.integers(0, 2, (frames, len(aus)))
    values[1, 0] = 9
    return values


def make(
    root: Path,
    *,
    participants: Mapping[str, int] | None = None,
    aus: Sequence[int] = AUS,
    first: int = 1,
    train: Sequence[str] | None = ("001A", "002B"),
    test: Sequence[str] | None = ("003C",),
    without_video: Sequence[str] = (),
    without_table: Sequence[str] = (),
) -> Path:
    """Write a tree: `participants` and their numbers of frames, the first frame's number, who is in train.txt and test.txt."""
    for name, frames in (participants or {"001A": 5, "002B": 4, "003C": 4}).items():
        if name not in without_video:
            people.write_video(root / "Videos" / f"{name}.mp4", people.person_frames(int(name[:3]), frames), 30)
        if name not in without_table:
            lines = [",".join(["frame", *(f"AU{au:02d}" for au in aus)])]
            lines += [",".join(map(str, [first + index, *row])) for index, row in enumerate(codes(name, frames, aus))]
            table = root / "AU_annotations" / f"{name}.csv"
            table.parent.mkdir(parents=True, exist_ok=True)
            table.write_text("\n".join(lines) + "\n")
    for part, members in (("train", train), ("test", test)):
        if members is not None:
            (root / f"{part}.txt").write_text("".join(f"{name}\n" for name in members))
    return root
