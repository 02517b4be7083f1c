"""A data set of drawn faces whose 68 landmarks are known: grey pictures with a bright dot on every landmark."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
from PIL import Image

from openau.datasets.manifest import write_manifest
from openau.faces.fan import MESH_IDS
from openau.faces.features import CANONICAL

RED, GREEN = 0, 16
"""Landmarks whose dots have a colour: the subject's right and left end of the jaw."""


def landmarks(rng: np.random.Generator, size: int) -> np.ndarray:
    """(68, 2) of a face somewhere in a square picture, turned a little."""
    angle = np.deg2rad(rng.uniform(-10, 10))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    flat = CANONICAL[MESH_IDS, :2]
    flat = (flat - flat.mean(0)) / np.ptp(flat[:, 1])
    return (flat @ turn * size * rng.uniform(0.4, 0.5) + size * rng.uniform(0.45, 0.55, 2)).astype(np.float32)


def picture(points: np.ndarray, size: int) -> np.ndarray:
    """(size, size, 3) uint8."""
    at = np.arange(size) + 0.5
    image = np.full((size, size, 3), 40.0)
    for number, (x, y) in enumerate(points):
        dot = np.exp(-((at - y) ** 2) / 4)[:, None] * np.exp(-((at - x) ** 2) / 4)
        colour = {RED: (1, 0, 0), GREEN: (0, 1, 0)}.get(number, (0, 0, 1))
        image += 200 * dot[..., None] * np.array(colour)
    return np.clip(image, 0, 255).astype(np.uint8)


def make(folder: Path, people: int = 5, each: int = 4, size: int = 160) -> Path:
    """Write pictures and manifest; returns the folder."""
    rng = np.random.default_rng(0)
    rows = []
    (folder / "images").mkdir(parents=True)
    for person in range(people):
        for number in range(each):
            points = landmarks(rng, size)
            name = f"images/{person}_{number}.png"
            Image.fromarray(picture(points, size)).save(folder / name)
            known = {"image": name, "subject": f"p{person}", "clip": f"p{person}", "frame": number, "fold": person % 3}
            rows.append(known | {"AU12": number % 2, "landmarks": points.ravel().tolist()})
    write_manifest(pa.Table.from_pylist(rows), folder / "manifest.parquet")
    return folder
