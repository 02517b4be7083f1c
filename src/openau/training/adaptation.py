"""What new people's labels can teach a model, and what it gained from them: both models on the same faces, a verdict, a report.

Both models are judged the same way: AUC on their plain logits, over all people at once; F1 with thresholds that were found, for the people
of each fold, on the people of the others (as calibration finds them), for the model as it was too. So a gain in F1 is not one that
thresholds alone would give. Intervals are over people, widened where they are few.
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import aus_in
from openau.datasets.people import identities
from openau.errors import InputError
from openau.evaluation.bootstrap import Estimate
from openau.evaluation.compare import Comparison, Difference, compare
from openau.evaluation.scored import Scored
from openau.evaluation.tables import EvaluationTable, Options, evaluate, without_nan
from openau.facs import occurrence_column
from openau.outputs import whole_file
from openau.training.calibrate import PRIORS, USUAL_PRIOR, AffineMap, fit
from openau.training.face_pictures import FacePictures
from openau.training.judge import scored
from openau.training.labels import read_labels
from openau.training.picture_recipes import PictureRecipe
from openau.training.picture_task import LEAST, teachable
from openau.training.predict import Predictions
from openau.training.splits import Index
from openau.weights.cards import Measure

Floats = npt.NDArray[np.float32]
Verdict = Literal["helps", "no gain", "worse", "too few people", "not validated"]

REPORT, DATA = "report.md", "finetune.json"
FEWEST = 6
"""People below which nothing is claimed: if adapting helped each of five, chance alone would do that once in 16 times (two-sided)."""

_METRICS = ("auc", "f1_chosen")
_REPETITIONS = 2000


@dataclass(frozen=True, slots=True, eq=False)
class Material:
    """What there is to learn from.

    Attributes:
        faces: the data set. rows: (n,) of its rows that have a face and a label of one of the model's AUs.
        people: (n,) whom they show.
        labels: (n, A) of the model's AUs.
        learned: (A,) which of them the labels teach.
        strange: AUs that are labelled, but that the model does not know.
        aus: of the model.
    """

    faces: FacePictures
    rows: Index
    people: npt.NDArray[np.str_]
    labels: Floats
    learned: npt.NDArray[np.bool_]
    strange: tuple[int, ...]

    aus: tuple[int, ...]

    @property
    def names(self) -> list[str]:
        """The people."""
        return sorted(set(self.people.tolist()))

    @property
    def taught(self) -> tuple[int, ...]:
        """AUs that the labels teach."""
        return tuple(number for number, learned in zip(self.aus, self.learned, strict=True) if learned)

    @property
    def kept(self) -> dict[int, tuple[int, int]]:
        """The model's other AUs, with the faces that show each and those that are labelled for it."""
        return {number: counts for number, counts in self.counts.items() if number not in self.taught}

    @property
    def counts(self) -> dict[int, tuple[int, int]]:
        """AU of the model → faces that show it, and faces labelled for it."""
        shown, known = (self.labels > 0.5).sum(axis=0), (~np.isnan(self.labels)).sum(axis=0)
        return {number: (int(s), int(k)) for number, s, k in zip(self.aus, shown, known, strict=True)}


def gather(faces: FacePictures, aus: tuple[int, ...], model: str) -> Material:
    """What a data set can teach a model of these AUs.

    Raises:
        InputError: nothing.
    """
    labels = read_labels(faces.rows, aus, (), ()).occurrence
    rows = np.flatnonzero(faces.ok[:, 0] & ~np.isnan(labels).all(axis=1))
    if not len(rows):
        raise InputError(f"{faces.folder}: no face that was found has a known label for an AU of {model}")
    learned = teachable(labels[rows])
    if not learned.any():
        raise InputError(
            f"{faces.folder}: {len(rows)} labelled faces are too few or too much alike: of no AU that {model} knows are there at least "
            f"{LEAST} faces that show it and {LEAST} that do not"
        )
    strange = tuple(number for number in aus_in(faces.rows) if number not in aus)
    return Material(faces, rows, identities(faces.rows)[rows], labels[rows], learned, strange, aus)


def fit_usual(logits: Floats, labels: Floats, number: int) -> AffineMap:
    """Calibration of one AU (n,), at its life-like rate."""
    return fit(logits, labels, PRIORS.get(number, USUAL_PRIOR))


def cross_fitted(
    logits: Floats, labels: Floats, fold: npt.NDArray[np.str_], aus: tuple[int, ...]
) -> Mapping[str, Floats]:
    """Fold → (A,) thresholds (probabilities) for its faces, found on the faces of all other folds.

    Args:
        logits: (n, A), each of a model that has not seen that face's fold.
        labels: (n, A).
        fold: (n,).
        aus: of the columns.
    """
    found = {}
    for name in sorted(set(fold.tolist())):
        others = fold != name
        maps = [fit_usual(logits[others, a], labels[others, a], number) for a, number in enumerate(aus)]
        found[name] = _probability(np.array([-one.shift / one.scale for one in maps], np.float32))
    return found


@dataclass(frozen=True, slots=True)
class Compared:
    """The adapted model beside the one it was.

    Attributes:
        comparison: adapted − before.
        table: of the adapted one.
        before: of the one it was.
    """

    comparison: Comparison
    table: EvaluationTable
    before: EvaluationTable


def compared(material: Material, before: Floats, after: Floats, fold: npt.NDArray[np.str_], model: str) -> Compared:
    """Compare on the AUs that labels teach.

    Args:
        material: faces and labels.
        before: (n, A) logits of the model as it was.
        after: (n, A) logits of adapted models, each of which has not seen the face's fold.
        fold: (n,).
        model: what to call the model as it was.
    """
    options = Options(over="pooled", repetitions=_REPETITIONS, widened=True)
    adapted, was = (_told(material, logits, fold, name) for logits, name in ((after, "adapted"), (before, model)))
    return Compared(compare(adapted, was, options, _METRICS), evaluate(adapted, options), evaluate(was, options))


def _told(material: Material, logits: Floats, fold: npt.NDArray[np.str_], name: str) -> Scored:
    column = np.flatnonzero(material.learned)
    nothing = np.zeros((len(material.rows), 1, 0), np.float32)
    said = Predictions(logits[:, None, column], nothing, nothing, nothing)
    found = scored(name, said, material.faces, material.rows, material.taught, (), data=material.faces.folder.name)
    thresholds = cross_fitted(logits[:, column], material.labels[:, column], fold, material.taught)
    return dataclasses.replace(found, part=fold, thresholds=thresholds)


@dataclass(frozen=True, slots=True)
class Findings:
    """All there is to say about an adapted model.

    Attributes:
        model: that was adapted.
        data: name of the data set. faces, people: in it, with labels. folds: of the cross-validation; 0 = there was none.
        aus: of the adapted model's file.
        counts: AU that labels taught → faces that show it, faces labelled for it. kept: likewise of the model's other AUs.
        strange: AUs that are labelled, but that the model does not know.
        recipe, seed, command: how it was made.
        compared: with the model as it was; None without cross-validation.
    """

    model: str
    data: str
    faces: int
    people: int
    folds: int
    aus: tuple[int, ...]
    counts: Mapping[int, tuple[int, int]]
    kept: Mapping[int, tuple[int, int]]
    strange: tuple[int, ...]
    recipe: PictureRecipe
    seed: int
    command: str
    compared: Compared | None

    @property
    def verdict(self) -> Verdict:
        """Whether adapting helps, by the mean AUC of held-out people."""
        if self.compared is None:
            return "not validated"
        gain = self.compared.comparison.mean["auc"].difference
        if self.people < FEWEST or math.isnan(gain.low):
            return "too few people"
        if gain.low > 0:
            return "helps"
        return "worse" if gain.high < 0 else "no gain"

    @property
    def sentence(self) -> str:
        """The verdict, as it is printed."""
        if self.compared is None:
            return "not validated: whether adapting helps on your data is not known"
        found = self.compared.comparison.mean["auc"]
        numbers = f"AUC {found.b:.2f} → {found.a:.2f} ({_signed(found.difference)}, {self.people} people)"
        advice = {
            "helps": "adapting helps on your data",
            "no gain": f"no gain that {self.people} people could show; keep {self.model}",
            "worse": f"adapting makes it worse on your data; keep {self.model}",
            "too few people": f"too few people to say whether adapting helps; {FEWEST} are the least that could show it",
        }
        return f"{numbers}: {advice[self.verdict]}"

    @property
    def held(self) -> tuple[int, ...]:
        """AUs of the adapted model that labels did not teach."""
        return tuple(number for number in self.kept if number in self.aus)

    @property
    def trained_on(self) -> str:
        """For the card."""
        told = f"{self.model}, adapted to {self.faces:,} labelled faces of {self.people} people ({self.data})"
        rest = f"; held at what {self.model} says: {_names(self.held)}" if self.held else ""
        return f"{told}; AUs taught: {_names(self.counts)}{rest}"

    @property
    def how(self) -> str:
        """The recipe, for the card."""
        changes = json.loads(self.recipe.to_json())
        shown = ("epochs", "batch", "learning_rate", "loss", "remember", "shrink")
        return f"openau finetune: {', '.join(f'{name} {changes[name]}' for name in shown)}, seed {self.seed}"

    @property
    def limits(self) -> str:
        """For the card."""
        judged = f"{self.folds}-fold cross-validation over {self.people} people: " if self.folds else ""
        thresholds = "" if self.folds else "Thresholds were chosen on the faces it learned from. "
        return (
            f"Adapted to one set of labelled faces; {judged}{self.sentence}. {thresholds}"
            "What it is worth on other people, cameras or coders was not measured. "
            "Says what a face does, not what a person feels. Not for decisions about people."
        )

    @property
    def measured(self) -> dict[str, Measure]:
        """For the card: what held-out people gave, before and after."""
        if self.compared is None:
            return {}
        titles = {"auc": "mean AUC", "f1_chosen": "mean F1, threshold of other people"}
        where = f"held-out people of {self.folds} folds"
        found: dict[str, Estimate] = {}
        for key, title in titles.items():
            found[f"{title}, {where}"] = self.compared.table.mean[key]
            found[f"{title} of {self.model}, the same people"] = self.compared.before.mean[key]
            found[f"gain in {title}"] = self.compared.comparison.mean[key].difference
        return {
            what: Measure(one.value, min(one.low, one.value), max(one.high, one.value), self.faces, self.command)
            for what, one in found.items()
            if math.isfinite(one.value) and math.isfinite(one.low)
        }

    def notes(self) -> list[str]:
        """What has to be known beside the table."""
        found = []
        few = {n: c for n, c in self.kept.items() if c[1]}
        if few:
            told = ", ".join(f"{occurrence_column(n)} ({shown} of {known})" for n, (shown, known) in few.items())
            found.append(
                f"Labelled, but not taught, for want of {LEAST} faces that show the AU and {LEAST} that do not: {told}."
            )
        if self.held:
            found.append(f"Not taught; held at what {self.model} says, with its thresholds: {_names(self.held)}.")
        gone = [n for n in self.kept if n not in self.aus]
        if gone:
            found.append(
                f"Not in the adapted model, because nothing taught them or gave them a threshold: {_names(gone)}."
            )
        if self.strange:
            found.append(
                f"Labelled, but {self.model} does not know them, so they were not used: {_names(self.strange)}."
            )
        return found

    def to_json(self) -> str:
        """All of it; what is not defined is null."""
        document = {
            "verdict": self.verdict, "sentence": self.sentence, "model": self.model, "data": self.data, "faces": self.faces,
            "people": self.people, "folds": self.folds, "aus": self.aus,
            "taught": {occurrence_column(n): counts for n, counts in self.counts.items()},
            "kept": {occurrence_column(n): counts for n, counts in self.kept.items()},
            "unknown_to_the_model": [occurrence_column(n) for n in self.strange],
            "recipe": json.loads(self.recipe.to_json()), "seed": self.seed, "command": self.command,
            "comparison": None if self.compared is None else json.loads(self.compared.comparison.to_json()),
        }  # fmt: skip
        return json.dumps(without_nan(document), indent=1)

    def to_markdown(self) -> str:
        """The report."""
        lines = [
            f"# {self.model}, adapted to {self.data}",
            "",
            f"**{self.sentence[0].upper()}{self.sentence[1:]}.**",
            "",
        ]
        lines.append(f"{self.faces:,} labelled faces of {self.people} people.")
        if self.compared is not None:
            lines[-1] += (
                f" Cross-validation in {self.folds} folds of people: each person was judged by a model that had been adapted to the "
                f"others, and by {self.model} as it is. In brackets: 95 % interval over people."
            )
            lines += ["", *_table(self.compared.comparison, self.counts)]
        lines += ["", *(f"- {note}" for note in self.notes())]
        if self.compared is not None:
            lines += [
                "- AUC: how well faces with the AU are told from faces without it, 0.5 is chance; no threshold is involved.",
                "- F1: thresholds were found on the other folds' people, for both models; so no gain is one of thresholds alone.",
                "- The model that is kept has learned from everyone; the numbers are of the folds' models, which learned from fewer.",
            ]
        lines += ["", f"Made by `{self.command}`; recipe: {self.how}."]
        return "\n".join(lines) + "\n"


def write_report(out: Path, findings: Findings) -> None:
    """Write `report.md` and `finetune.json`.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, text in ((DATA, findings.to_json() + "\n"), (REPORT, findings.to_markdown())):
        with whole_file(out / name) as scratch:
            scratch.write_text(text, encoding="utf-8")


def _table(comparison: Comparison, counts: Mapping[int, tuple[int, int]]) -> list[str]:
    head = ["AU", "shown", "labelled", "AUC before", "after", "gain", "F1 before", "after", "gain"]
    rows = [
        [
            occurrence_column(n),
            str(counts[n][0]),
            str(counts[n][1]),
            *_cells([comparison.per_au[n][key] for key in _METRICS]),
        ]
        for n in comparison.aus
    ]
    rows.append(["mean", "", "", *_cells([comparison.mean[key] for key in _METRICS])])
    return ["| " + " | ".join(row) + " |" for row in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]


def _cells(found: Sequence[Difference]) -> list[str]:
    return [text for one in found for text in (_number(one.b), _number(one.a), _signed(one.difference))]


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.2f}"


def _signed(gain: Estimate) -> str:
    """+0.05 [0.01 0.09]."""
    if math.isnan(gain.value):
        return "–"
    return f"{gain.value:+.2f}" + ("" if math.isnan(gain.low) else f" [{gain.low:.2f} {gain.high:.2f}]")


def _names(numbers: Mapping[int, object] | Sequence[int]) -> str:
    return ", ".join(occurrence_column(number) for number in numbers)


def _probability(logits: Floats) -> Floats:
    return np.asarray(0.5 * (1 + np.tanh(0.5 * logits)), np.float32)
