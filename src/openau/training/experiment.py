"""A protocol, run: every part trained, its test faces judged, everything in one file of scored faces.

OUT/experiment.json               what is run; another experiment is refused
OUT/<part>/…                      the part's training run (checkpoints, metrics)
OUT/<part>/predictions.parquet    its test faces (`openau.evaluation.scored`), written when it is finished
OUT/predictions.parquet           all of them, written when all parts are

A stopped experiment goes on when it is called again: finished parts are read, the one under way goes on after its last epoch.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import numpy as np

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.evaluation.metrics import best_f1
from openau.evaluation.protocols import Assignment, DataSetRows, Protocol, noisy_labels
from openau.evaluation.scored import Floats, Index, Scored, read_scored, write_scored
from openau.facs import occurrence_column
from openau.outputs import make_folder, whole_file
from openau.training.baselines import GEOMETRY_MLP, LINEAR_PROBE, AlwaysPositive, TrainingRate
from openau.training.callbacks import Progress
from openau.training.candidate import Candidate, Job, PictureCandidate, RecipeCandidate, Said, with_parts
from openau.training.checkpoint import TrainingSelection
from openau.training.face_pictures import join_pictures
from openau.training.joined import LabelledFaces, join
from openau.training.labels import read_labels
from openau.training.picture_recipes import PICTURE_RECIPES
from openau.training.recipes import RECIPES
from openau.training.splits import split_subjects

UNCHOSEN = 0.5
"""Threshold of an AU that no validation face shows, so that every model is judged on the same AUs."""

RECORD, PREDICTIONS = "experiment.json", "predictions.parquet"

_ALL: tuple[Candidate, ...] = (
    AlwaysPositive(),
    TrainingRate(),
    GEOMETRY_MLP,
    LINEAR_PROBE,
    *(RecipeCandidate(name, f"the recipe {name}", recipe) for name, recipe in RECIPES.items()),
    *(PictureCandidate(name, f"the recipe {name}", recipe) for name, recipe in PICTURE_RECIPES.items()),
)

MODELS: Mapping[str, Candidate] = MappingProxyType({one.name: one for one in _ALL})
"""Everything a protocol can be run with, by name."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How an experiment is run.

    Attributes:
        seed: of weights and batches (a protocol's own draws have a seed in its name).
        threads: CPU threads. device: Lightning's name of an accelerator.
        selection: who chooses the epoch; "test-selected" is printed with every number.
        start: checkpoint that every part starts from, or None; the baselines know none.
    """

    seed: int = 0
    threads: int = 1
    device: str = "cpu"
    selection: TrainingSelection = "validation"
    start: Path | None = None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an experiment stands: part `number` (from 1) of `parts`, called `part`; `training` is None when it begins or ends."""

    part: str
    number: int
    parts: int
    training: Progress | None = None


def model(name: str) -> Candidate:
    """What is called so.

    Raises:
        UsageError: nothing is.
    """
    if name not in MODELS:
        raise UsageError(f"no model is called {name!r}; there are {', '.join(MODELS)}")
    return MODELS[name]


def run_protocol(
    stores: Sequence[LabelledFaces],
    protocol: Protocol,
    candidate: Candidate,
    out: Path,
    settings: Settings | None = None,
    report: Callable[[Standing], None] | None = None,
    only: Collection[str] | None = None,
) -> Scored:
    """Train and judge every part of a protocol.

    Args:
        stores: the data sets' faces, as the candidate reads them: feature stores, or `FacePictures`.
        protocol: who is tested and trained on.
        candidate: what is trained, usually one of `MODELS`.
        out: folder; made if needed.
        settings: seed, threads, device, who chooses the epoch.
        report: called when a part begins, as it trains, and when all is done.
        only: names of the parts to run, the others are left for another time; None = all.

    Returns:
        Every test face of every part that is asked for, with the thresholds each part's validation people chose.

    Raises:
        UsageError: these are not the protocol's data sets, the folder holds another experiment, or `only` names a part there is not.
        InputError: the data does not make its parts.
        OutputError: the folder cannot be written.
    """
    settings = settings or Settings()
    store: Any = join_pictures(cast(Any, stores)) if candidate.reads == "pictures" else join(cast(Any, stores))
    data = [DataSetRows.of(one.rows, one.folder, np.asarray(one.ok.any(axis=1))) for one in stores]
    parts = protocol.assign(data)
    make_folder(out, parents=True)
    claim(out / RECORD, _record(data, stores, protocol, candidate, settings))
    names = "+".join(one.name for one in data)
    chosen = {part.test_part for part in parts} if only is None else set(only)
    unknown = chosen - {part.test_part for part in parts}
    if unknown or not chosen:
        raise UsageError(
            f"{protocol.name}: has no {', '.join(sorted(unknown)) or 'part to run'}; its parts are {_names(parts)}"
        )
    found = []
    for number, part in enumerate(parts, start=1):
        if part.test_part not in chosen:
            continue
        file = out / folder_name(part.test_part) / PREDICTIONS
        if not file.exists():
            _tell(report, Standing(part.test_part, number, len(parts)))

            def train_report(progress: Progress, part: Assignment = part, number: int = number) -> None:
                _tell(report, Standing(part.test_part, number, len(parts), progress))

            make_folder(file.parent)
            write_scored(_run_part(store, part, protocol, candidate, names, file.parent, settings, train_report), file)
        found.append(read_scored(file))
    scored = together(found)
    if len(found) == len(parts):
        write_scored(scored, out / PREDICTIONS)
    return scored


def _names(parts: Sequence[Assignment]) -> str:
    return ", ".join(part.test_part for part in parts)


def folder_name(part: str) -> str:
    """A part's name as a folder: "part 1" → "part-1"."""
    return re.sub(r"[^\w.+-]+", "-", part)


def together(parts: Sequence[Scored]) -> Scored:
    """The parts of one experiment as one, one below the other."""
    first = parts[0]
    names = ("probability", "occurrence", "subject", "clip", "frame", "part", "intensity", "intensity_labels")
    return Scored(
        model=first.model, data=first.data, protocol=first.protocol, aus=first.aus,
        intensity_aus=first.intensity_aus, selection=first.selection,
        thresholds={name: values for part in parts for name, values in part.thresholds.items()},
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in names},
    )  # fmt: skip


def _run_part(
    store: LabelledFaces,
    part: Assignment,
    protocol: Protocol,
    candidate: Candidate,
    data: str,
    out: Path,
    settings: Settings,
    report: Callable[[Progress], None],
) -> Scored:
    if part.noise is not None:
        store = with_parts(store, rows=noisy_labels(store.rows, part.train_rows, part.aus, part.noise))
    usable = np.asarray(store.ok.any(axis=1))
    try:
        split = split_subjects(
            store.rows, part.train_rows, part.test_rows, candidate.validation, candidate.split_seed, usable
        )
    except InputError as error:
        raise InputError(f"{protocol.name}, {part.test_part}: {error}") from None
    name = f"{protocol.name}, test {part.test_part}"
    judge = candidate.fit(
        Job(
            store, split, part.aus, name, out, settings.seed, settings.threads, settings.device, settings.selection,
            report, settings.start,
        )
    )  # fmt: skip
    labels = read_labels(store.rows, part.aus, (), ()).occurrence
    chosen = chosen_thresholds(judge(split.validation).probability, labels[split.validation])
    return _scored(store, part, judge(part.test_rows), chosen, protocol, candidate, data, settings)


def chosen_thresholds(probability: Floats, occurrence: Floats) -> Floats:
    """(A,) the threshold with the best F1 for each AU on these faces (n, A); NaN where nobody shows it."""
    chosen = [best_f1(said, truth)[1] for said, truth in zip(probability.T, occurrence.T, strict=True)]
    return np.array(chosen, np.float32)


def _scored(
    store: LabelledFaces, part: Assignment, said: Said, chosen: Floats, protocol: Protocol, candidate: Candidate, data: str,
    settings: Settings,
) -> Scored:  # fmt: skip
    rows = part.test_rows
    thresholds = np.where(np.isnan(chosen), np.float32(UNCHOSEN), chosen)
    labels = read_labels(store.rows, part.aus, said.intensity_aus, ())
    missed = int(np.isnan(said.probability).all(axis=1).sum())
    notes = list(part.notes)
    if missed:
        notes.append(f"{part.test_part}: {missed:,} of {len(rows):,} labelled frames have no face that could be judged")
    if np.isnan(chosen).any():
        unseen = [occurrence_column(number) for number, value in zip(part.aus, chosen, strict=True) if np.isnan(value)]
        notes.append(
            f"{part.test_part}: no validation face shows {', '.join(unseen)}; {UNCHOSEN} stands in for the chosen threshold"
        )
    return Scored(
        model=candidate.name, data=data, protocol=protocol.name, aus=part.aus,
        probability=said.probability, occurrence=labels.occurrence[rows], subject=identities(store.rows)[rows],
        clip=_texts(store, "clip", rows), frame=_frames(store, rows), part=np.full(len(rows), part.test_part),
        thresholds={part.test_part: thresholds}, intensity_aus=said.intensity_aus, intensity=said.intensity,
        intensity_labels=labels.intensity[rows], selection=settings.selection, notes=tuple(notes),
    )  # fmt: skip


def _texts(store: LabelledFaces, name: str, rows: Index) -> Any:
    values = store.rows.column(name).take(rows).to_pylist()
    return np.array(["" if value is None else str(value) for value in values], np.str_)


def _frames(store: LabelledFaces, rows: Index) -> Any:
    values = store.rows.column("frame").take(rows).to_pylist()
    return np.array([-1 if value is None else value for value in values], np.int64)


def _record(
    data: Sequence[DataSetRows], stores: Sequence[LabelledFaces], protocol: Protocol, candidate: Candidate, settings: Settings
) -> dict[str, Any]:  # fmt: skip
    """What makes an experiment this one: the same record gives the same numbers on a CPU."""
    return {
        "protocol": protocol.name,
        "model": candidate.name,
        "settings": candidate.settings(),
        "seed": settings.seed,
        "selection": settings.selection,
        **({} if settings.start is None else {"start": _digest(settings.start)}),
        "data": [
            {"name": one.name, "rows": len(one.identity), "labels": _labels_digest(one), "features": store.meta}
            for one, store in zip(data, stores, strict=True)
        ],
    }


def _digest(start: Path) -> str:
    """SHA-256 of the checkpoint that is started from."""
    if not start.is_file():
        raise InputError(f"{start}: no such checkpoint")
    return hashlib.sha256(start.read_bytes()).hexdigest()


def _labels_digest(data: DataSetRows) -> str:
    """SHA-256 of who is where with which labels: corrected labels make another experiment."""
    digest = hashlib.sha256()
    for name in sorted(data.rows.column_names):
        if name.startswith("AU") or name in ("subject", "clip", "frame", "fold"):
            digest.update(name.encode())
            digest.update(json.dumps(data.rows.column(name).to_pylist()).encode())
    return digest.hexdigest()


def claim(path: Path, record: dict[str, Any]) -> None:
    """Write down what is run here, or check that it is the same as before."""
    text = json.dumps(record, indent=1, sort_keys=True)
    if not path.exists():
        with whole_file(path) as scratch:
            scratch.write_text(text + "\n")
        return
    try:
        before = json.loads(path.read_text())
    except (OSError, ValueError):
        raise InputError(f"{path}: cannot be read or is damaged; choose another folder") from None
    now = json.loads(text)
    if before != now:
        other = next(key for key in now if before.get(key) != now[key])
        raise UsageError(
            f"{path.parent}: holds another experiment (another {other}, see {path.name}); choose another folder"
        )


def _tell(report: Callable[[Standing], None] | None, standing: Standing) -> None:
    if report is not None:
        report(standing)
