"""Drawn faces whose AUs can be seen: AU 12 lights the mouth, AU 4 the brow; what a model that looks at pixels can learn in seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from dotted_faces import landmarks, picture
from PIL import Image

from openau.datasets.manifest import write_manifest

AUS = (4, 12)
_BROW, _MOUTH = slice(17, 27), slice(48, 68)


def make(folder: Path, people: int = 9, each: int = 10, size: int = 96, seed: int = 0) -> Path:
    """Write pictures and manifest; one label in nine is unknown. Returns the folder."""
    rng = np.random.default_rng(seed)
    rows = []
    (folder / "images").mkdir(parents=True)
    for person in range(people):
        for number in range(each):
            points = landmarks(rng, size)
            image = picture(points, size).astype(float)
            labels = rng.integers(0, 2, 2)
            for shown, part in zip(labels, (_BROW, _MOUTH), strict=True):
                (x, y), half = points[part].mean(axis=0).astype(int), size // 10
                image[max(0, y - half) : y + half, max(0, x - half) : x + half] += 120 * shown
            name = f"images/{person}_{number}.png"
            Image.fromarray(np.clip(image, 0, 255).astype(np.uint8)).save(folder / name)
            known = {"image": name, "subject": f"p{person}", "clip": f"p{person}", "frame": number, "fold": person % 3}
            told = {f"AU{au:02d}": int(v) if rng.random() > 1 / 9 else None for au, v in zip(AUS, labels, strict=True)}
            rows.append(known | told | {"landmarks": points.ravel().tolist()})
    write_manifest(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder
