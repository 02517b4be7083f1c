"""A look-alike of a user's own folder: a video, a recording made of pictures, two stills, and `labels.csv`."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import people

FRAMES = 12
"""Frames of the video; every one is labelled."""
PICTURES = 6
"""Pictures of the recording made of pictures."""
COLUMNS = ("file", "frame", "subject", "clip", "fold", "AU01", "AU12", "AU12_i", "AU12_L", "mood")

Rows = list[dict[str, object]]


def rows() -> Rows:
    """The table's rows: AU12 comes with odd frames, AU01 with everything but the stills."""
    video = [_row("ann/talk.mp4", index, "", "", 1, index) for index in range(FRAMES)]
    pictures = [_row(f"bob/{index:03d}.jpg", index, "", "bob/walk", 2, index) for index in range(PICTURES)]
    stills = [_row(f"still{index}.png", "", "", "", 2, index) for index in range(2)]
    for row in stills:
        row["AU01"] = ""
    return video + pictures + stills


def make(root: Path, change: Callable[[Rows], object] = lambda rows: None, missing: tuple[int, ...] = ()) -> Path:
    """Write the tree, below a folder that need not exist.

    Args:
        root: its folder.
        change: what to do to the table's rows before they are written.
        missing: frames of the video and of `bob/walk` that show noise instead of a face.

    Returns:
        The root.
    """
    talk, walk = people.person_frames(1, FRAMES), people.person_frames(2, PICTURES)
    for index in missing:
        talk[index] = people.noise(seed=index)
        if index < PICTURES:
            walk[index] = people.noise(seed=index)
    people.write_video(root / "ann" / "talk.mp4", talk, 25)
    for index, frame in enumerate(walk):
        people.write_picture(root / "bob" / f"{index:03d}.jpg", frame)
    for index in range(2):
        people.write_picture(root / f"still{index}.png", people.person_frames(3 + index, 1)[0])
    table = rows()
    change(table)
    write_table(root / "labels.csv", table)
    return root


def write_table(path: Path, table: Rows) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(table)


def _row(file: str, frame: object, subject: str, clip: str, fold: int, index: int) -> dict[str, object]:
    smiles = index % 2
    values = (file, frame, subject, clip, fold, 1, smiles, 2.5 * smiles, smiles, "glad" if smiles else "")
    return dict(zip(COLUMNS, values, strict=True))
