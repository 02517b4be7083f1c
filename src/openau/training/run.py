"""A training run: features, their split and a recipe in, a folder that describes itself out.

RUN/best.safetensors   weights of the epoch that the validation subjects like best (or of the last one, if the recipe says so)
RUN/last.safetensors   weights and training state of the last finished epoch, to resume from

and what `openau.training.record` lists.
"""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.utilities import rank_zero_only

from openau.errors import UsageError
from openau.outputs import make_folder
from openau.training.callbacks import EpochKeeper, Journal, Report, is_finished
from openau.training.checkpoint import BEST, LAST, Checkpoint, Provenance, TrainingSelection, load_checkpoint
from openau.training.feature_task import FeatureTask
from openau.training.joined import LabelledFaces
from openau.training.picture_recipes import AnyRecipe, PictureRecipe
from openau.training.picture_task import PictureTask
from openau.training.recipes import FANTRANS
from openau.training.record import describe, draw_curves, loggers, names_of
from openau.training.splits import Split
from openau.training.task import Parts, Task


@dataclass(frozen=True, slots=True)
class TrainingResult:
    """What a run left: the folder, the chosen checkpoint, its score (mean AUC of those who chose it), the split."""

    run: Path
    checkpoint: Path
    score: float
    split: Split


def train(
    store: LabelledFaces,
    out: Path,
    recipe: AnyRecipe = FANTRANS,
    *,
    split: Split,
    split_name: str,
    seed: int = 0,
    threads: int = 1,
    device: str = "cpu",
    devices: int = 1,
    resume: bool = False,
    report: Report | None = None,
    selection: TrainingSelection = "validation",
    wandb: bool = False,
    start: Path | None = None,
) -> TrainingResult:
    """Train a model; on a CPU the same seed gives the same weights.

    Args:
        store: labelled faces: features for a `Recipe`, pictures for a `PictureRecipe`.
        out: folder of the run; made if needed.
        recipe: how to train.
        split: which rows train, which are validation; its test rows are never looked at unless `selection` says so.
        split_name: what to call it ("subjects=0.2", "bp4d-3fold, test part 1"); "none" if nothing is kept away.
        seed: of weights, batches and noise (the split's seed is in the recipe).
        threads: CPU threads of PyTorch, per process.
        device: Lightning's name of an accelerator ("cpu", "gpu", "auto").
        devices: how many; with more than one, Lightning's `ddp` starts this same command again for each. They share every batch, so a
            recipe means the same for any number.
        resume: go on after the last finished epoch of `out`, if there is one; epochs are those of the recipe.
        report: called after every step.
        selection: who chooses the epoch (and ends the run early): validation rows, or the test rows, as public code of the field often
            has it; the choice is recorded, and every table says "test-selected".
        wandb: also log for Weights & Biases, into the run's folder, without sending anything.
        start: checkpoint to start from; AUs of its own are taken over where this model has them too (`openau.models.transfer`). Of several
            peers all start from it, and differ by what it lacks and by noise.

    Raises:
        InputError: the store holds too little, or `start` is no checkpoint.
        UsageError: the folder holds a run and `resume` is off, the run to resume was another one, there is no such device, or `start`
            does not fit or has seen people who are tested here.
        OutputError: the folder cannot be written.
        MissingExtraError: Weights & Biases is asked for and not installed.
    """
    torch.set_num_threads(threads)
    make_folder(out, parents=True)
    if not resume and (out / LAST).exists():
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or choose another folder")
    task = task_of(recipe)
    task.require_enough(store, split.train, recipe, devices)
    config = task.configure(store, recipe)
    trained, watched = (names_of(store, rows) for rows in (split.train, split.validation))
    provenance = Provenance(recipe, seed, 0, math.nan, store.folder.name, split_name, trained, watched, selection)
    before = _checkpoint_to_resume(out, provenance, config) if resume else None
    if before is None or not is_finished(before.provenance):
        judging = split.test if selection == "test-selected" else split.validation
        trainer = _trainer(out, recipe, device, devices, wandb, judges=len(judging) > 0)
        source = None if start is None else _starting_point(start, names_of(store, split.test))
        if is_first_process():
            options = {
                "split": split_name, "selection": selection, "seed": seed, "threads": threads, "device": device, "devices": devices,
                **({} if start is None else {"start": start.name}),
            }  # fmt: skip
            describe(out, recipe, store, split, options)
        parts = task.parts(store, split.train, judging, config, recipe, seed, source)
        _fit(trainer, parts, task.judged_views(store)[judging], Journal(out, provenance, report, before))
        if is_first_process():
            draw_curves(out)
        if trainer.interrupted:
            raise KeyboardInterrupt
    chosen = load_checkpoint(out / BEST)
    return TrainingResult(out, out / BEST, chosen.provenance.score, split)


def task_of(recipe: AnyRecipe) -> Task:
    """What a recipe's model brings to the run."""
    return PictureTask() if isinstance(recipe, PictureRecipe) else FeatureTask()


def is_first_process() -> bool:
    """Whether this is the process that writes and talks; with one device there is no other."""
    return int(getattr(rank_zero_only, "rank", 0) or 0) == 0


def _trainer(out: Path, recipe: AnyRecipe, device: str, devices: int, wandb: bool, judges: bool) -> L.Trainer:
    """Lightning's trainer, which reports and saves nothing by itself."""
    try:
        with _quiet():
            trainer = L.Trainer(
                accelerator=device, devices=devices, strategy="ddp" if devices > 1 else "auto", use_distributed_sampler=False,
                max_epochs=recipe.epochs, precision=recipe.precision, accumulate_grad_batches=recipe.accumulate,
                logger=loggers(out, wandb), enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False,
                num_sanity_val_steps=0, deterministic="warn", limit_val_batches=1.0 if judges else 0, default_root_dir=str(out),
            )  # fmt: skip
    except MisconfigurationException as error:
        raise UsageError(f"the device {device!r} cannot be used on this machine: {error}") from None
    if recipe.precision == "16-mixed" and isinstance(trainer.accelerator, CPUAccelerator):
        raise UsageError("the precision 16-mixed needs a GPU; use bf16-mixed or 32")
    return trainer


def _fit(trainer: L.Trainer, parts: Parts, flipped: npt.NDArray[np.bool_], journal: Journal) -> None:
    """Train until the recipe's end."""
    hooks: Any = trainer
    hooks.callbacks.append(EpochKeeper(parts.batches, flipped, parts.occurrence, journal))
    position: Any = trainer.fit_loop.epoch_progress.current
    position.processed = position.completed = journal.provenance.epoch
    with _quiet():
        trainer.fit(parts.module, datamodule=parts.data)


def _starting_point(start: Path, tested: tuple[str, ...]) -> Checkpoint:
    """The checkpoint, if it has not seen anybody who is tested."""
    found = load_checkpoint(start)
    seen = sorted({*found.provenance.trained, *found.provenance.watched} & set(tested))
    if seen:
        raise UsageError(f"{start}: was trained on {seen[0]}, who is tested here; results would be too good")
    return found


def _checkpoint_to_resume(out: Path, provenance: Provenance, config: object) -> Checkpoint | None:
    path = out / LAST
    if not path.exists():
        return None
    before = load_checkpoint(path)
    if _identity(before.provenance) != _identity(provenance) or before.model.config != config:
        raise UsageError(
            f"{path}: belongs to a run with another recipe, seed or data; choose another folder or do not resume"
        )
    return before


def _identity(run: Provenance) -> tuple[object, ...]:
    """What two runs must share for one to go on with the other."""
    return run.recipe.to_json(), run.seed, run.trained, run.watched, run.selection


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners and its advice about data-loader workers to itself."""
    talkative = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(talkative, levels, strict=True):
            logger.setLevel(level)
