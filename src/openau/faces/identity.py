"""Whether two located faces show the same person: a light descriptor of what Face Mesh sees.

The feature columns that Face Mesh has worked out anyway are averaged over eyes and brows, over nose, cheeks and mouth, and over the
midline, and taken to a space in which pictures of one person lie close together whatever the person does (linear discriminants, learned
on rendered people by `benchmarks/identity.py`). It tells the few people of one recording apart; it is no face recognition: between
recordings, under other light, it is wrong too often (docs/temporal.md has the figures).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openau.faces.finder import LocatedFace

Floats = npt.NDArray[np.float32]

PARTS: tuple[npt.NDArray[np.intp], ...] = (np.r_[0:20, 65:85], np.r_[20:65, 85:130], np.r_[130:149])
"""Rows of `MeshOutput.columns`: brows and eyes; lower lids, cheeks, nose and mouth; the midline."""


_MEANS: Floats = np.zeros((len(PARTS), sum(len(part) for part in PARTS)), np.float32)
"""(3, P): takes columns to the means of the parts."""
for _row, _part in zip(_MEANS, PARTS, strict=True):
    _row[_part] = 1 / len(_part)


def pooled(columns: Floats) -> Floats:
    """Mean feature column of each part: (P, C) → (3 C,)."""
    return (_MEANS @ columns).ravel()


def describe(face: LocatedFace) -> Floats:
    """The descriptor of a face: (K,) float32 of length 1. The similarity of two faces is the dot product of theirs, −1 to 1."""
    mean, matrix = _space()
    place = (pooled(face.mesh.columns) - mean) @ matrix
    return np.asarray(place / max(float(np.linalg.norm(place)), 1e-9), np.float32)


@cache
def _space() -> tuple[Floats, Floats]:
    """Mean (3 C,) and matrix (3 C, K)."""
    with np.load(Path(__file__).with_name("identity.npz"), allow_pickle=False) as file:
        return file["mean"].astype(np.float32), file["matrix"].astype(np.float32)
