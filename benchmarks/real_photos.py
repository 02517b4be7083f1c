"""Do the Action Units make sense on real faces? A folder of photos with labels, judged beside MediaPipe's blendshapes.

    python benchmarks/real_photos.py FOLDER [--blendshapes blendshapes.csv] [--model NAME|FILE] [--json out.json]

FOLDER has `images/` and `labels.csv` (columns image, emotion), and may have `aus.csv` (column image, then AUxx with 1, 0 or empty).
Two questions are asked:

1. *Emotions*: AUC of each AU that belongs to an emotion's prototype, photos of that emotion against neutral ones.
2. *Codes* (`aus.csv`): AUC, F1 at 0.5 and false-alarm rate per AU with at least 5 positives; and false alarms on the photos
   labelled neutral.

Photos are for looking, never for training or for setting a threshold. A photo without a found face counts as a miss and is left out of
the AUCs of *both* methods' common comparison; how many each missed is printed. Intervals: 95 %, bootstrap over photos, fixed seed.
`blendshapes.csv` is made by `benchmarks/mediapipe_blendshapes.py`; left and right scores are added, their threshold is 0.5.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import openau
from openau.errors import InputError
from openau.evaluation.bootstrap import bootstrap
from openau.evaluation.metrics import f1, roc_auc
from openau.facs import EMOTION_PROTOTYPES, au, occurrence_column

BLENDSHAPES: Mapping[int, tuple[str, ...]] = {
    1: ("browInnerUp",), 2: ("browOuterUpLeft", "browOuterUpRight"), 4: ("browDownLeft", "browDownRight"),
    5: ("eyeWideLeft", "eyeWideRight"), 6: ("cheekSquintLeft", "cheekSquintRight"), 7: ("eyeSquintLeft", "eyeSquintRight"),
    9: ("noseSneerLeft", "noseSneerRight"), 10: ("mouthUpperUpLeft", "mouthUpperUpRight"), 12: ("mouthSmileLeft", "mouthSmileRight"),
    14: ("mouthDimpleLeft", "mouthDimpleRight"), 15: ("mouthFrownLeft", "mouthFrownRight"), 17: ("mouthShrugLower",),
    20: ("mouthStretchLeft", "mouthStretchRight"), 23: ("mouthRollLower", "mouthRollUpper"),
    24: ("mouthPressLeft", "mouthPressRight"), 25: ("mouthLowerDownLeft", "mouthLowerDownRight"), 26: ("jawOpen",),
    43: ("eyeBlinkLeft", "eyeBlinkRight"),
}  # fmt: skip
"""AU → the blendshapes that stand for it."""

LEAST_POSITIVES = 5
Scores = npt.NDArray[np.float64]


class Method:
    """One detector's scores for every photo: AU → (N,) with NaN where no face was found."""

    def __init__(self, name: str, scores: Mapping[int, Scores]) -> None:
        self.name = name
        self.scores = scores
        self.missed = int(np.isnan(next(iter(scores.values()))).sum())


def openau_scores(images: list[Path], model: str) -> Method:
    """OpenAU's probabilities, largest face of each photo."""
    detector = openau.Detector(model=model, max_faces=1)
    rows = []
    for path in images:
        try:
            faces = detector.detect(str(path))
        except InputError as error:
            print(error)
            rows.append(None)
            continue
        rows.append(faces.values[0] if faces.has_face[0] else None)
        columns = faces.columns
    table = np.full((len(images), len(columns.names)), np.nan)
    for index, row in enumerate(rows):
        if row is not None:
            table[index] = row
    return Method(
        "OpenAU", {number: table[:, columns.names.index(occurrence_column(number))] for number in columns.occurrence}
    )


def blendshape_scores(path: Path, images: list[Path]) -> Method:
    """MediaPipe's blendshapes as AU scores."""
    with path.open(newline="") as file:
        rows = {row["image"]: row for row in csv.DictReader(file)}

    def score(image: Path, names: tuple[str, ...]) -> float:
        values = [rows.get(image.name, {}).get(name, "") for name in names]
        return sum(float(value) for value in values) if all(values) else np.nan

    return Method(
        "MediaPipe blendshapes", {n: np.array([score(i, names) for i in images]) for n, names in BLENDSHAPES.items()}
    )


def auc_with_interval(scores: Scores, truth: Scores) -> tuple[float, float, float]:
    """AUC and its 95 % interval over photos."""
    known = ~np.isnan(scores) & ~np.isnan(truth)
    return bootstrap(roc_auc, scores[known], truth[known], seed=0)


def emotions(methods: list[Method], labels: npt.NDArray[np.str_], console: Console) -> dict[str, object]:
    """Question 1: emotion against neutral."""
    table = Table(
        "emotion",
        "AU",
        *(m.name for m in methods),
        title="AUC of prototype AUs, emotion against neutral (95 % interval)",
    )
    results: dict[str, object] = {}
    means: dict[str, list[float]] = {method.name: [] for method in methods}
    for emotion, numbers in EMOTION_PROTOTYPES.items():
        chosen = np.isin(labels, [emotion, "neutral"])
        truth = (labels == emotion).astype(float)
        for number in numbers:
            cells = []
            for method in methods:
                value, low, high = auc_with_interval(method.scores[number][chosen], truth[chosen])
                means[method.name].append(value)
                results[f"{method.name}/{emotion}/{occurrence_column(number)}"] = [value, low, high]
                cells.append(f"{value:.3f} [{low:.2f}, {high:.2f}]")
            table.add_row(f"{emotion} ({int((labels == emotion).sum())})", occurrence_column(number), *cells)
    table.add_section()
    table.add_row("mean over the pairs", "", *(f"{np.mean(values):.3f}" for values in means.values()))
    console.print(table)
    for method in methods:
        results[f"{method.name}/mean"] = float(np.mean(means[method.name]))
    return results


def codes(
    methods: list[Method], truth: Mapping[int, Scores], neutral: npt.NDArray[np.bool_], console: Console
) -> dict[str, object]:
    """Question 2: AU codes, and false alarms on neutral photos."""
    columns = [f"{m.name}\n{what}" for m in methods for what in ("AUC", "F1", "FA", "FA neutral")]
    table = Table("AU", "+/−", *columns, title="Against the AU codes: AUC [95 %], F1 and false alarms at 0.5")
    results: dict[str, object] = {}
    summary: dict[str, list[tuple[float, float]]] = {method.name: [] for method in methods}
    scored = [
        n for n, code in truth.items() if np.nansum(code) >= LEAST_POSITIVES and all(n in m.scores for m in methods)
    ]
    for number in scored:
        code = truth[number]
        cells = []
        for method in methods:
            scores = method.scores[number]
            known = ~np.isnan(scores) & ~np.isnan(code)
            value, low, high = auc_with_interval(scores, code)
            fscore = float(f1(scores[known], code[known]))
            alarms = float((scores[known & (code == 0)] >= 0.5).mean())
            at_rest = scores[neutral & ~np.isnan(scores)]
            alarms_neutral = float((at_rest >= 0.5).mean())
            if number != 25:
                summary[method.name].append((value, fscore))
            results[f"{method.name}/codes/{occurrence_column(number)}"] = {
                "auc": [value, low, high], "f1": fscore, "false_alarms": alarms, "false_alarms_neutral": alarms_neutral,
                "positives": int(np.nansum(code)), "negatives": int((code == 0).sum()),
            }  # fmt: skip
            cells += [f"{value:.3f} [{low:.2f}, {high:.2f}]", f"{fscore:.2f}", f"{alarms:.0%}", f"{alarms_neutral:.0%}"]
        name = f"{occurrence_column(number)} {au(number).name}"
        table.add_row(name, f"{int(np.nansum(code))}/{int((code == 0).sum())}", *cells)
    table.add_section()
    averages = []
    for method in methods:
        auc, fscore = np.mean(summary[method.name], axis=0)
        results[f"{method.name}/codes/mean"] = {
            "auc": float(auc),
            "f1": float(fscore),
            "aus": len(summary[method.name]),
        }
        averages += [f"{auc:.3f}", f"{fscore:.3f}", "", ""]
    table.add_row("mean without AU25", str(len(scored) - (25 in scored)), *averages)
    console.print(table)
    return results


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--blendshapes", type=Path)
    parser.add_argument("--model", default="default")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with (arguments.folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [arguments.folder / "images" / row["image"] for row in rows]
    labels = np.array([row["emotion"] for row in rows])
    methods = [openau_scores(images, arguments.model)]
    if arguments.blendshapes:
        methods.append(blendshape_scores(arguments.blendshapes, images))
    console = Console(width=180)
    console.print(f"{len(images)} photos; no face found: " + ", ".join(f"{m.name} {m.missed}" for m in methods))
    results: dict[str, object] = {"photos": len(images), "missed": {m.name: m.missed for m in methods}}
    results |= emotions(methods, labels, console)
    if (arguments.folder / "aus.csv").exists():
        with (arguments.folder / "aus.csv").open(newline="") as file:
            coded = {row["image"]: row for row in csv.DictReader(file)}
        columns = [name for name in next(iter(coded.values())) if name != "image"]

        def codes_of(column: str) -> Scores:
            cells = [coded.get(image.name, {}).get(column, "") for image in images]
            return np.array([float(cell) if cell else np.nan for cell in cells])

        results |= codes(methods, {int(c[2:]): codes_of(c) for c in columns}, labels == "neutral", console)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
