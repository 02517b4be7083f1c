"""Learn and judge what `--quality` says: hits and false alarms of its flags on faces that were covered or blurred on purpose, and its cost.

    openau synth --preset facs-bench-small -o bench
    python benchmarks/quality.py bench                      # learn on half of the people, judge on the other half
    python benchmarks/quality.py bench -o occlusion.npz     # learn on everyone: the file in the package

Coverings are drawn on the aligned crops: masks over mouth and nose, hands (fingers and palm in the face's own colour), things, bars.
`--photos` judges on a folder of photos too, which are never learned from.
"""

from __future__ import annotations

import argparse
import timeit
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pyarrow.parquet as pq
from sklearn.linear_model import LogisticRegression

from openau.faces import FaceFinder, LocatedFace
from openau.faces.identity import pooled
from openau.faces.quality import assess, measure
from openau.media import read_image

KINDS = ("mask", "hand", "thing", "bar")
OUTLINE = (
    10, 338, 297, 332, 284, 251, 389, 356, 454, 323, 361, 288, 397, 365, 379, 378, 400, 377, 152, 148, 176, 149, 150, 136, 172, 58, 132,
    93, 234, 127, 162, 21, 54, 103, 67, 109,
)  # fmt: skip
MASK, TARGETS = [234, 117, 197, 346, 454, 361, 397, 152, 172, 132], [1, 13, 61, 291, 152, 50, 280, 199, 33, 263, 4]
COVERED, FALSE_ALARMS, PICTURES = 0.08, 0.02, 1100


def cover(
    crop: np.ndarray, points: np.ndarray, kind: str, other: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, float]:
    """A crop with something before the face, and the share of the face that it covers."""
    shape = np.zeros(crop.shape[:2], np.uint8)
    if kind == "mask":
        cv2.fillPoly(shape, [(points[MASK] + rng.normal(0, 3, (len(MASK), 2))).astype(np.int32)], 1)
        paint = np.broadcast_to(
            rng.choice([(235, 235, 235), (120, 170, 210), (30, 30, 30), tuple(rng.integers(0, 255, 3))]), crop.shape
        )
    elif kind == "hand":
        paint = _hand(crop, points, shape, rng)
    else:
        x, y = (float(v) for v in points[rng.integers(len(points))])
        side, ratio = rng.uniform(25, 70), rng.uniform(0.6, 1.6)
        size = (side * 3, side * 0.5) if kind == "bar" else (side, side * ratio)
        cv2.fillPoly(shape, [cv2.boxPoints(((x, y), size, float(rng.uniform(0, 180)))).astype(np.int32)], 1)
        paint = other if rng.random() < 0.5 else np.broadcast_to(rng.integers(0, 255, 3), crop.shape)
    face = np.zeros_like(shape)
    cv2.fillConvexPoly(face, cv2.convexHull(points[list(OUTLINE)].astype(np.int32)), 1)
    alpha = cv2.GaussianBlur(shape.astype(np.float32), (0, 0), 1.0)[..., None]
    return (crop * (1 - alpha) + paint * alpha).astype(np.uint8), float((shape * face).sum() / face.sum())


def _hand(crop: np.ndarray, points: np.ndarray, shape: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw a hand that touches the face into `shape`; its picture."""
    tip = points[rng.choice(TARGETS)] + rng.normal(0, 8, 2)
    angle = rng.uniform(0, 2) * np.pi if rng.random() < 0.3 else rng.uniform(0.2, 0.8) * np.pi
    along = np.array([np.cos(angle), np.sin(angle)])
    aside, width = np.array([-along[1], along[0]]), rng.uniform(12, 19)
    for finger in range(rng.integers(2, 5)):
        start = tip + aside * (finger - 1.5) * width * 0.95 + along * rng.uniform(-6, 6)
        cv2.line(
            shape, start.astype(int).tolist(), (start + along * rng.uniform(45, 60)).astype(int).tolist(), 1, int(width)
        )
    palm = tip + along * 70
    cv2.circle(shape, palm.astype(int).tolist(), int(width * 2.2), 1, -1)
    cv2.line(shape, palm.astype(int).tolist(), (palm + along * 150).astype(int).tolist(), 1, int(width * 2.8))
    x, y = points[205].astype(int).clip(6, 185)
    skin = np.median(crop[y - 6 : y + 6, x - 6 : x + 6].reshape(-1, 3), axis=0) * rng.uniform(0.75, 1.15)
    shade = 0.72 + 0.28 * np.clip(cv2.distanceTransform(shape, cv2.DIST_L2, 3) / 10, 0, 1)
    return np.clip(skin * shade[..., None] + rng.normal(0, 3, crop.shape), 0, 255)


class Covered:
    """Faces as they are and covered once in every way: pooled columns (n, D), share covered, kind, whose."""

    def __init__(self, finder: FaceFinder, faces: list[LocatedFace], seed: int) -> None:
        rng = np.random.default_rng(seed)
        rows = []
        for number, face in enumerate(faces):
            rows.append((pooled(finder.mesh.run(face.crop).columns), 0.0, "", number))
            other = faces[rng.integers(len(faces))].crop
            for kind in KINDS:
                crop, share = cover(face.crop, face.mesh.landmarks[:, :2], kind, other, rng)
                rows.append((pooled(finder.mesh.run(crop).columns), share, kind, number))
        self.columns = np.array([row[0] for row in rows], np.float64)
        self.share = np.array([row[1] for row in rows])
        self.kind = np.array([row[2] for row in rows])
        self.number = np.array([row[3] for row in rows])


def learn(data: Covered, rows: np.ndarray) -> tuple[np.ndarray, float]:
    """Weights (D,) and bias of a logistic regression: is more than `COVERED` of the face hidden?"""
    rows = rows & ((data.share == 0) | (data.share > COVERED))
    mean, scale = data.columns.mean(axis=0), data.columns.std(axis=0) + 1e-6
    model = LogisticRegression(C=0.01, max_iter=300, class_weight="balanced")
    model.fit((data.columns[rows] - mean) / scale, data.share[rows] > COVERED)
    weights = model.coef_[0] / scale
    return weights, float(model.intercept_[0] - mean @ weights)


def report(name: str, data: Covered, rows: np.ndarray, weights: np.ndarray, bias: float) -> None:
    said = data.columns @ weights + bias > 0
    print(f"{name}: false alarms {said[rows & (data.share == 0)].mean():.1%}", end="")
    for low, high in ((0.08, 0.15), (0.15, 0.3), (0.3, 1)):
        print(
            f"; {low:.0%}–{high:.0%} hidden: found {said[rows & (data.share > low) & (data.share <= high)].mean():.0%}",
            end="",
        )
    found = {kind: said[rows & (data.share > 0.15) & (data.kind == kind)].mean() for kind in KINDS}
    print("; above 15 %: " + ", ".join(f"{kind} {share:.0%}" for kind, share in found.items()))


def blurred(name: str, faces: list[LocatedFace]) -> None:
    """The blur that is measured on crops blurred by known widths."""
    scale = np.median(
        [
            np.linalg.norm(f.mesh.landmarks[[33, 133]].mean(axis=0) - f.mesh.landmarks[[263, 362]].mean(axis=0))
            for f in faces
        ]
    )
    for percent in (0, 2, 4, 6, 8):
        sigma = percent / 100 * float(scale)
        crops = [cv2.GaussianBlur(f.crop, (0, 0), sigma) if sigma else f.crop for f in faces]
        values = [measure(replace(face, crop=crop))["blur"] for face, crop in zip(faces, crops, strict=True)]
        low, middle, high = np.percentile(values, [5, 50, 95])
        flagged = np.mean(np.array(values) > 5)
        print(f"{name}, blurred by {percent} %: measured {middle:.1f} [{low:.1f} {high:.1f}], flagged {flagged:.0%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bench", type=Path)
    parser.add_argument("--photos", type=Path)
    parser.add_argument("-o", "--out", type=Path)
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    finder, rng = FaceFinder(), np.random.default_rng(0)
    table = pq.read_table(arguments.bench / "manifest.parquet", columns=["image", "subject", "condition"]).to_pylist()
    usable = [row for row in table if row["condition"] != "occlusion"]
    chosen = [usable[n] for n in rng.permutation(len(usable))[:PICTURES]]
    seen = [
        (faces[0], row["subject"])
        for row in chosen
        if (faces := finder.find_large(read_image(arguments.bench / row["image"])))
    ]
    faces = [face for face, _ in seen]
    data = Covered(finder, faces, 1)
    subjects = np.array([name for _, name in seen])[data.number]
    known = np.isin(subjects, np.unique(subjects)[::2])
    weights, bias = learn(data, known)
    plain = data.columns[~known & (data.share == 0)] @ weights + bias
    shift = float(np.quantile(plain, 1 - FALSE_ALARMS))
    report("renders, people not learned from", data, ~known, weights, bias - shift)
    weights, bias = learn(data, np.ones(len(known), bool))
    if arguments.photos:
        photos = [
            found[0]
            for file in sorted(arguments.photos.iterdir())[::2]
            if (found := finder.find_large(read_image(file)))
        ]
        covered = Covered(finder, photos, 2)
        report("photos", covered, np.ones(len(covered.share), bool), weights, bias - shift)
        blurred("photos", photos)
    print(f"assess: {min(timeit.repeat(lambda: assess(faces[0]), number=200, repeat=5)) / 200 * 1000:.2f} ms per face")
    if arguments.out:
        np.savez_compressed(arguments.out, weights=weights.astype(np.float32), bias=np.float32(bias - shift))


if __name__ == "__main__":
    main()
