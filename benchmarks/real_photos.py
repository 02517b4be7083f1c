"""Do the Action Units make sense on real faces? A folder of photos with labels, judged beside MediaPipe's blendshapes.

    python benchmarks/real_photos.py FOLDER [--blendshapes blendshapes.csv] [--model NAME|FILE] [--json out.json]

FOLDER has `images/` and `labels.csv` (columns image, emotion), and may have `aus.csv` (column image, then AUxx with 1, 0 or empty).
Two questions are asked:

1. *Emotions*: AUC of each AU that belongs to an emotion's prototype, photos of that emotion against neutral ones.
2. *Codes* (`aus.csv`): AUC, F1 at 0.5 and false-alarm rate per AU with at least 5 positives; and false alarms on the photos
   labelled neutral.

Photos are for looking, never for training or for setting a threshold. A photo in which a method finds no face is left out of that method's
AUCs and counts as "absent" in F1 and false alarms; how many each missed is printed. Intervals: 95 %, bootstrap over photos, fixed seed.
`blendshapes.csv` is made by `benchmarks/mediapipe_blendshapes.py`; left and right scores are added, their threshold is 0.5.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

import openau
from openau.errors import InputError, OpenAUError
from openau.evaluation.bootstrap import Estimate, estimate
from openau.evaluation.metrics import f1, false_alarm_rate, roc_auc
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
REPETITIONS = 300
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
    scores: dict[int, Scores] = {}
    for index, path in enumerate(images):
        try:
            faces = detector.detect(str(path))
        except InputError as error:
            print(error)
            continue
        for number in faces.columns.occurrence:
            found = scores.setdefault(number, np.full(len(images), np.nan))
            found[index] = faces.column(occurrence_column(number))[0]
    if not scores:
        raise SystemExit(f"none of the {len(images)} photos can be read")
    return Method("OpenAU", scores)


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


def mean_auc(pairs: Sequence[tuple[Scores, Scores]]) -> Callable[[Scores], float]:
    """Weights over the photos → mean AUC of several (scores, truth) columns."""
    return lambda weight: float(np.nanmean([roc_auc(scores, truth, weight) for scores, truth in pairs]))


def mean_f1(pairs: Sequence[tuple[Scores, Scores]]) -> Callable[[Scores], float]:
    """Weights over the photos → mean F1 at 0.5 of several (scores, truth) columns; photos without a found face say "absent"."""
    return lambda weight: float(
        np.nanmean([f1(np.nan_to_num(scores), truth, weight=weight) for scores, truth in pairs])
    )


def show(found: Estimate) -> str:
    """Value and interval."""
    return f"{found.value:.3f} [{found.low:.2f}, {found.high:.2f}]"


class Report:
    """Prints tables and gathers every number as a measure: value, low, high, n."""

    def __init__(self, photos: int) -> None:
        self.console = Console(width=190)
        self.photos = photos
        self.measures: dict[str, dict[str, float | int | None]] = {}

    def measure(self, name: str, statistic: Callable[[Scores], float], n: int) -> Estimate:
        """Bootstrap a number over the photos and note it."""
        found = estimate(statistic, self.photos, repetitions=REPETITIONS, seed=0)
        parts = {"value": found.value, "low": found.low, "high": found.high}
        self.measures[name] = {key: value if np.isfinite(value) else None for key, value in parts.items()} | {"n": n}
        return found


def emotions(methods: list[Method], labels: npt.NDArray[np.str_], report: Report) -> None:
    """Question 1: emotion against neutral."""
    table = Table("emotion", "AU", *(m.name for m in methods), title="AUC of prototype AUs, emotion against neutral")
    pairs: dict[str, list[tuple[Scores, Scores]]] = {method.name: [] for method in methods}
    for emotion, numbers in EMOTION_PROTOTYPES.items():
        truth = np.where(labels == emotion, 1.0, np.where(labels == "neutral", 0.0, np.nan))
        count = int((labels == emotion).sum())
        for number in numbers:
            if not all(number in method.scores for method in methods):
                continue  # the mean below is over the same pairs for every method
            cells = []
            for method in methods:
                pair = (method.scores[number], truth)
                pairs[method.name].append(pair)
                name = f"photos: {method.name}, AUC {occurrence_column(number)}, {emotion} against neutral"
                cells.append(show(report.measure(name, mean_auc([pair]), int((~np.isnan(truth)).sum()))))
            table.add_row(f"{emotion} ({count})", occurrence_column(number), *cells)
    table.add_section()
    means = [
        show(
            report.measure(f"photos: {m.name}, mean AUC over the emotions' pairs", mean_auc(pairs[m.name]), len(labels))
        )
        for m in methods
    ]
    table.add_row("mean over the pairs", str(len(pairs[methods[0].name])), *means)
    report.console.print(table)


def codes(methods: list[Method], truth: Mapping[int, Scores], neutral: npt.NDArray[np.bool_], report: Report) -> None:
    """Question 2: AU codes, and false alarms on neutral photos."""
    columns = [f"{m.name}\n{what}" for m in methods for what in ("AUC", "F1", "FA", "FA neutral")]
    table = Table("AU", "+/−", *columns, title="Against the AU codes: AUC, F1 and false alarms at 0.5")
    scored = [
        n for n, code in truth.items() if np.nansum(code) >= LEAST_POSITIVES and all(n in m.scores for m in methods)
    ]
    if not any(number != 25 for number in scored):
        report.console.print(f"aus.csv: too few codes; an AU is judged from {LEAST_POSITIVES} photos that show it")
        return
    for number in scored:
        code = truth[number]
        known = int((~np.isnan(code)).sum())
        cells = []
        for method in methods:
            scores = method.scores[number]
            name = f"photos: {method.name}, %s {occurrence_column(number)}, codes"
            cells.append(show(report.measure(name % "AUC", mean_auc([(scores, code)]), known)))
            cells.append(show(report.measure(name % "F1", mean_f1([(scores, code)]), known)))
            cells.append(f"{false_alarm_rate(np.nan_to_num(scores), code):.0%}")
            cells.append(f"{(np.nan_to_num(scores[neutral]) >= 0.5).mean():.0%}")
        table.add_row(
            f"{occurrence_column(number)} {au(number).name}", f"{int(np.nansum(code))}/{int((code == 0).sum())}", *cells
        )
    table.add_section()
    judged = [number for number in scored if number != 25]
    cells = []
    for method in methods:
        pairs = [(method.scores[number], truth[number]) for number in judged]
        coded = int(np.sum(~np.isnan(np.stack([code for _, code in pairs])).all(axis=0)))
        cells.append(
            show(
                report.measure(f"photos: {method.name}, mean AUC over {len(judged)} AUs, codes", mean_auc(pairs), coded)
            )
        )
        cells.append(
            show(report.measure(f"photos: {method.name}, mean F1 over {len(judged)} AUs, codes", mean_f1(pairs), coded))
        )
        cells += ["", ""]
    table.add_row("mean without AU25", str(len(judged)), *cells)
    report.console.print(table)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="holds images/, labels.csv and perhaps aus.csv")
    parser.add_argument("--blendshapes", type=Path, help="scores of the same photos by mediapipe_blendshapes.py")
    parser.add_argument("--model", default="default", help="a name of `openau models`, or FILE.onnx")
    parser.add_argument("--json", type=Path, help="write every number here, for write_card.py")
    arguments = parser.parse_args()
    table = arguments.folder / "labels.csv"
    if not table.is_file():
        parser.error(f"{table}: no such file; FOLDER needs images/ and labels.csv (columns image, emotion)")
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    images = [arguments.folder / "images" / row["image"] for row in rows]
    labels = np.array([row["emotion"] for row in rows])
    methods = [openau_scores(images, arguments.model)]
    if arguments.blendshapes:
        methods.append(blendshape_scores(arguments.blendshapes, images))
    report = Report(len(images))
    report.console.print(f"{len(images)} photos; no face found: " + ", ".join(f"{m.name} {m.missed}" for m in methods))
    emotions(methods, labels, report)
    if (arguments.folder / "aus.csv").exists():
        with (arguments.folder / "aus.csv").open(newline="") as file:
            coded = {row["image"]: row for row in csv.DictReader(file)}
        columns = [name for name in next(iter(coded.values())) if name != "image"]

        def codes_of(column: str) -> Scores:
            cells = [coded.get(image.name, {}).get(column, "") for image in images]
            return np.array([float(cell) if cell else np.nan for cell in cells])

        codes(methods, {int(c[2:]): codes_of(c) for c in columns}, labels == "neutral", report)
    if arguments.json:
        arguments.json.write_text(json.dumps(report.measures, indent=1))


if __name__ == "__main__":
    try:
        main()
    except OpenAUError as error:
        raise SystemExit(f"real_photos: {error}") from None
