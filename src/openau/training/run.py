"""A training run: a feature store and a recipe in, a folder of checkpoints out.

RUN/best.safetensors   weights of the epoch the validation subjects like best (or of the last one, if the recipe says so)
RUN/last.safetensors   weights and optimiser of the last finished epoch, to resume from
RUN/metrics.csv        losses and validation scores of every epoch
"""

from __future__ import annotations

import csv
import io
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor

from openau.datasets.manifest import aus_in, intensity_aus_in, sided_aus_in
from openau.errors import InputError, UsageError
from openau.models.fantrans import FANTransConfig, build
from openau.outputs import make_folder, whole_file
from openau.training.checkpoint import Checkpoint, Provenance, TrainingSelection, load_checkpoint, save_checkpoint
from openau.training.data import FeatureData, statistics
from openau.training.joined import Features
from openau.training.labels import Labels, read_labels, soft_targets
from openau.training.module import AUModule
from openau.training.predict import Collector
from openau.training.recipes import FANTRANS, Recipe
from openau.training.splits import Index, Split, subjects_of

BEST, LAST, METRICS = "best.safetensors", "last.safetensors", "metrics.csv"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: epoch (from 1), its step (from 1), and, at the end of an epoch, its numbers (else empty)."""

    epoch: int
    step: int
    epochs: int
    steps: int
    numbers: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run left: the folder, the chosen checkpoint, its validation AUC, the split."""

    run: Path
    checkpoint: Path
    score: float
    split: Split


def train(
    store: Features,
    out: Path,
    recipe: Recipe = FANTRANS,
    *,
    split: Split,
    split_name: str,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    resume: bool = False,
    report: Callable[[Progress], None] | None = None,
    selection: TrainingSelection = "validation",
) -> TrainingResult:
    """Train a model; on a CPU the same seed gives the same weights.

    Args:
        store: features of labelled faces.
        out: folder of the run; made if needed.
        recipe: how to train.
        split: which rows train, which are validation; its test rows are never looked at unless `selection` says so.
        split_name: what to call it ("subjects=0.2", "bp4d-3fold, test part 1"); "none" if nothing is kept away.
        seed: of weights, batches and noise (the split's seed is in the recipe).
        threads: CPU threads of PyTorch.
        device: Lightning's name of an accelerator ("cpu", "gpu", "auto").
        resume: go on after the last finished epoch of `out`, if there is one; epochs are those of the recipe.
        report: called after every step.
        selection: who chooses the epoch (and ends the run early): validation rows, or the test rows, as public code of the field often
            has it; the choice is recorded, and every table says "test-selected".

    Raises:
        InputError: the store cannot be read or holds too little.
        UsageError: the folder holds a run and `resume` is off, the run to resume was another one, or there is no such device.
        OutputError: the folder cannot be written.
    """
    torch.set_num_threads(threads)
    make_folder(out, parents=True)
    if not resume and (out / LAST).exists():
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or choose another folder")
    if len(split.train) < recipe.chunk_size:
        raise InputError(
            f"{store.folder}: {len(split.train)} faces are left to train on, at least {recipe.chunk_size} are needed"
        )
    config = configure(store, recipe)
    labels = read_labels(store.rows, config.aus, config.intensity_aus, config.sided_aus)
    torch.manual_seed(seed)
    model = build(config)
    measured = statistics(store, split.train, recipe.split_seed)
    model.set_statistics(measured.geometry_mean, measured.geometry_std, measured.channel_mean, measured.channel_std)
    judging = split.test if selection == "test-selected" else split.validation
    data = FeatureData(store, split.train, judging, labels, recipe, config.aus, config.sided_aus, seed)
    module = AUModule(model, recipe, positive_weights(labels, split, config, recipe), len(data.sampler), seed)
    trained, watched = (_names(store, rows) for rows in (split.train, split.validation))
    provenance = Provenance(recipe, seed, 0, math.nan, store.folder.name, split_name, trained, watched, selection)
    before = _checkpoint_to_resume(out, provenance, config) if resume else None
    journal = _Journal(out, provenance, report, before)
    start = before.provenance.epoch if before else 0
    if start < recipe.epochs:
        keeper = _Keeper(data, module, store, judging, labels, journal)
        with _quiet():
            try:
                trainer = L.Trainer(
                    accelerator=device, devices=1, max_epochs=recipe.epochs, logger=False, enable_checkpointing=False,
                    enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0, callbacks=[keeper],
                    deterministic="warn", limit_val_batches=1.0 if len(judging) else 0, default_root_dir=str(out),
                )  # fmt: skip
            except MisconfigurationException as error:
                raise UsageError(f"the device {device!r} cannot be used on this machine: {error}") from None
            position: Any = trainer.fit_loop.epoch_progress.current
            position.processed = position.completed = start
            trainer.fit(module, datamodule=data)
        if trainer.interrupted:
            raise KeyboardInterrupt
    chosen = load_checkpoint(out / BEST)
    return TrainingResult(out, out / BEST, chosen.provenance.score, split)


def configure(store: Features, recipe: Recipe) -> FANTransConfig:
    """The model a recipe makes for a store's features and labels.

    Raises:
        InputError: the store knows none of the recipe's AUs, or its features do not fit the model.
    """
    known = aus_in(store.rows)
    aus = known if recipe.aus is None else tuple(number for number in recipe.aus if number in known)
    if not aus:
        raise InputError(f"{store.folder}: no row has a known label for any of the AUs to train")
    with_intensity, with_sides = intensity_aus_in(store.rows), sided_aus_in(store.rows)
    meta = store.meta
    try:
        return FANTransConfig.create(
            aus,
            [number for number in aus if number in with_intensity],
            [number for number in aus if number in with_sides and number in recipe.sided_aus],
            meta["points"],
            meta["C"],
            meta["G"],
            **recipe.model,
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{store.folder}: the recipe {recipe.name} does not fit these features: {error}") from None


def positive_weights(labels: Labels, split: Split, config: FANTransConfig, recipe: Recipe) -> Tensor:
    """(A,) 1 + clip(k / sqrt(mean target), .5, 3): rare AUs weigh more, within bounds."""
    targets = soft_targets(labels.level[split.train], config.aus, recipe.ramp, recipe.ramps, recipe.smoothing)
    known = ~np.isnan(targets)
    rate = np.where(known, targets, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    weight = 1 + np.clip(recipe.positive_weight / np.sqrt(np.maximum(rate, 1e-3)), 0.5, 3.0)
    return torch.from_numpy(weight.astype(np.float32))


class _Journal:
    """Writes what an epoch leaves: checkpoints, the table of numbers, a report."""

    def __init__(
        self, out: Path, provenance: Provenance, report: Callable[[Progress], None] | None, before: Checkpoint | None
    ) -> None:
        self.before = before
        self._out, self._report = out, report
        self._provenance = replace(provenance, best=before.provenance.best) if before else provenance
        self._rows = _read_rows(out / METRICS, before.provenance.epoch) if before else []

    def step(self, progress: Progress) -> None:
        if self._report is not None:
            self._report(progress)

    def epoch(self, module: AUModule, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Save the epoch: first the table and the best weights, then `last`, which makes it count as finished."""
        score = module.scores.get("auc", math.nan)
        known_best = self._provenance.best
        better = not module.recipe.keep_best or math.isnan(known_best) or math.isnan(score) or score > known_best
        best = score if better else known_best
        self._provenance = replace(self._provenance, epoch=progress.epoch, score=score, best=best)
        self._rows.append(
            {"epoch": str(progress.epoch)} | {key: f"{value:.6g}" for key, value in progress.numbers.items()}
        )
        _write_rows(self._out / METRICS, self._rows)
        if better:
            save_checkpoint(self._out / BEST, module.model, self._provenance)
        save_checkpoint(self._out / LAST, module.model, self._provenance, _state_by_name(module, optimizer))
        self.step(progress)


class _Keeper(L.Callback):
    """Ties Lightning's hooks to the sampler, the validation labels and the journal."""

    def __init__(
        self, data: FeatureData, module: AUModule, store: Features, judging: Index, labels: Labels, journal: _Journal
    ) -> None:
        self._data, self._store, self._judging, self._labels, self._journal = data, store, judging, labels, journal
        self._began = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        if self._journal.before is not None:
            pl_module.model.load_state_dict(self._journal.before.model.state_dict())
            _restore_state(pl_module, trainer.optimizers[0], self._journal.before.optimizer)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        self._data.sampler.epoch = trainer.current_epoch
        self._began = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        self._journal.step(self._progress(trainer, batch_idx + 1, {}))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        rows = self._judging
        pl_module.watch(Collector(self._store, rows), self._labels.occurrence[rows])

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        numbers = pl_module.mean_losses() | pl_module.scores | {"seconds": time.monotonic() - self._began}
        self._journal.epoch(pl_module, trainer.optimizers[0], self._progress(trainer, len(self._data.sampler), numbers))

    def _progress(self, trainer: L.Trainer, step: int, numbers: Mapping[str, float]) -> Progress:
        return Progress(trainer.current_epoch + 1, step, trainer.max_epochs or 0, len(self._data.sampler), numbers)


def _checkpoint_to_resume(out: Path, provenance: Provenance, config: FANTransConfig) -> Checkpoint | None:
    path = out / LAST
    if not path.exists():
        return None
    before = load_checkpoint(path)
    same = (before.provenance.recipe.to_json(), before.provenance.seed, before.provenance.trained, before.model.config)
    if same != (provenance.recipe.to_json(), provenance.seed, provenance.trained, config):
        raise UsageError(
            f"{path}: belongs to a run with another recipe, seed or data; choose another folder or do not resume"
        )
    return before


def _state_by_name(module: AUModule, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: torch.as_tensor(value) for key, value in optimizer.state[parameter].items()}
        for name, parameter in module.model.named_parameters()
        if parameter in optimizer.state
    }


def _restore_state(
    module: AUModule, optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Tensor]]
) -> None:
    for name, parameter in module.model.named_parameters():
        if name in states:
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.clone().to(parameter.device)
                for key, value in states[name].items()
            }


def _read_rows(path: Path, epochs: int) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]


def _write_rows(path: Path, rows: list[dict[str, str]]) -> None:
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[-1]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(path) as scratch:
        scratch.write_text(text.getvalue())


def _names(store: Features, rows: Index) -> tuple[str, ...]:
    return tuple(sorted({str(name) for name in subjects_of(store.rows)[rows]}))


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners and its advice about data-loader workers to itself."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
