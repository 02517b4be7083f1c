"""A folder such as a study has: short clips, photos, a clash of names, a file that cannot be read."""

from __future__ import annotations

from pathlib import Path

from clips import frame, write_clip
from PIL import Image


def make_study(folder: Path, clips: int = 4, frames: int = 16) -> Path:
    """Clips and photos of one or two faces, in two folders; `broken.mp4` is none."""
    (folder / "monday").mkdir(parents=True)
    for number in range(clips):
        write_clip(folder / f"clip{number}.mp4", frames=frames, faces=1 + number % 2)
    for name in ("one.png", "monday/one.jpg"):
        Image.fromarray(frame(3)).save(folder / name)
    write_clip(folder / "monday" / "clip0.mp4", frames=frames // 2)
    (folder / "broken.mp4").write_bytes(b"this is no video")
    return folder
