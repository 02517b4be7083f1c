"""Learn and judge the descriptor by which tracks are told apart (`openau.faces.identity`).

    openau synth --preset facs-bench-small -o bench
    python benchmarks/identity.py bench                   # learn on half of the people, judge on the other half
    python benchmarks/identity.py bench -o identity.npz   # learn on everyone: the file in the package

Linear discriminants of the pooled feature columns: directions that differ between people, in a space where one person's pictures scatter
equally in all directions. `--photos FOLDER` judges on photos named NAME_0001.jpg, which are never learned from.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq

from openau.faces import FaceFinder
from openau.faces.identity import pooled
from openau.media import read_image

WIDTH, SHRINKAGE, PER_PERSON = 96, 0.3, 12


def look(files: list[Path], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """Pooled columns (n, 3 C) and names (n,) of the pictures that show a face."""
    finder = FaceFinder()
    seen = [
        (pooled(faces[0].mesh.columns), name)
        for file, name in zip(files, names, strict=True)
        if (faces := finder.find_large(read_image(file)))
    ]
    return np.stack([columns for columns, _ in seen]).astype(np.float64), np.array([name for _, name in seen])


def learn(columns: np.ndarray, names: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean (D,) and matrix (D, WIDTH) that takes columns to the descriptor's space."""
    mean, scale = columns.mean(axis=0), columns.std(axis=0) + 1e-6
    z = (columns - mean) / scale
    people, which = np.unique(names, return_inverse=True)
    centres = np.stack([z[which == n].mean(axis=0) for n in range(len(people))])
    inside = z - centres[which]
    within = inside.T @ inside / len(z)
    within = (1 - SHRINKAGE) * within + SHRINKAGE * np.trace(within) / len(within) * np.eye(len(within))
    values, vectors = np.linalg.eigh(within)
    whiten = vectors / np.sqrt(values)
    between = np.cov((centres @ whiten).T)
    _, directions = np.linalg.eigh(between)
    return mean, (whiten @ directions[:, ::-1][:, :WIDTH]) / scale[:, None]


def judge(columns: np.ndarray, names: np.ndarray, mean: np.ndarray, matrix: np.ndarray) -> str:
    """Verification AUC, and at two rates of false matches the threshold and the share of same pairs above it."""
    places = (columns - mean) @ matrix
    places /= np.linalg.norm(places, axis=1, keepdims=True)
    first, second = np.triu_indices(len(names), 1)
    similarity, same = (places @ places.T)[first, second], names[first] == names[second]
    other, own = np.sort(similarity[~same]), similarity[same]
    auc = np.searchsorted(other, own).mean() / len(other)
    line = f"AUC {auc:.3f} of {same.sum():,} same and {len(other):,} other pairs"
    for rate in (0.01, 0.001):
        threshold = other[int(len(other) * (1 - rate))]
        line += f"; false matches {rate:.1%}: similarity {threshold:.2f}, {(own > threshold).mean():.0%} matched"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    table = pq.read_table(arguments.bench / "manifest.parquet", columns=["image", "subject"]).to_pylist()
    rng = np.random.default_rng(0)
    chosen = []
    for person in sorted({row["subject"] for row in table}):
        own = [row for row in table if row["subject"] == person]
        chosen += [own[n] for n in rng.permutation(len(own))[:PER_PERSON]]
    columns, names = look([arguments.bench / row["image"] for row in chosen], [row["subject"] for row in chosen])
    known = np.isin(names, rng.permutation(np.unique(names))[::2])
    print(
        "renders, people not learned from:", judge(columns[~known], names[~known], *learn(columns[known], names[known]))
    )
    mean, matrix = learn(columns, names)
    if arguments.photos:
        files = sorted(file for file in arguments.photos.iterdir() if re.search(r"_\d{4}\.jpg$", file.name))
        print("photos:", judge(*look(files, [re.sub(r"_\d{4}\.jpg$", "", file.name) for file in files]), mean, matrix))
    if arguments.out:
        np.savez_compressed(arguments.out, mean=mean.astype(np.float32), matrix=matrix.astype(np.float16))


if __name__ == "__main__":
    main()
