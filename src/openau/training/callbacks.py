"""What happens at an epoch's end: it is judged, saved, written down, and perhaps the last one."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol, cast

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openau.models.au_vit import AUViT
from openau.training.checkpoint import BEST, LAST, Checkpoint, Provenance, TrainingState, save_checkpoint
from openau.training.epoch_module import EpochModule, Floats
from openau.training.predict import Collector
from openau.training.record import METRICS, read_metrics, write_metrics


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: epoch (from 1), its step (from 1), and, at the end of an epoch, its numbers (else empty)."""

    epoch: int
    step: int
    epochs: int
    steps: int
    numbers: Mapping[str, float]


Report = Callable[[Progress], None]


class Journal:
    """Writes what an epoch leaves: checkpoints, the table of numbers, a report.

    Every process keeps a journal, so that all come to the same decisions; only the first one writes.

    Args:
        out: the run's folder.
        provenance: of the run, before its first epoch.
        report: told about every step.
        before: checkpoint to go on from.
    """

    def __init__(self, out: Path, provenance: Provenance, report: Report | None, before: Checkpoint | None) -> None:
        self.before = before
        self.provenance = provenance
        self._out, self._report = out, report
        self._rows: list[dict[str, str]] = []
        if before is not None:
            found = before.provenance
            self.provenance = replace(provenance, epoch=found.epoch, best=found.best, best_epoch=found.best_epoch)
            self._rows = read_metrics(out / METRICS, found.epoch)

    def step(self, progress: Progress) -> None:
        """Report a step."""
        if self._report is not None:
            self._report(progress)

    def judge(self, progress: Progress, score: float) -> bool:
        """Take note of an epoch; says whether its weights are the ones to keep."""
        known = self.provenance
        better = math.isnan(known.best) or math.isnan(score) or score > known.best
        self.provenance = replace(known, epoch=progress.epoch, score=score)
        if better:
            self.provenance = replace(self.provenance, best=score, best_epoch=progress.epoch)
        self._rows.append(
            {"epoch": str(progress.epoch)} | {key: f"{value:.6g}" for key, value in progress.numbers.items()}
        )
        return better or not known.recipe.keep_best

    def write(self, module: EpochModule, state: TrainingState, keep: bool) -> None:
        """Save the epoch: first the table and the weights to keep, then `last`, which makes it count as finished."""
        write_metrics(self._out / METRICS, self._rows)
        if keep:
            save_checkpoint(self._out / BEST, cast(Any, module.judged), self.provenance)
        save_checkpoint(self._out / LAST, cast(Any, module.judged), self.provenance, state)


def is_finished(provenance: Provenance) -> bool:
    """Whether a run has had all its epochs, or enough of them without a better score."""
    patience = provenance.recipe.early_stopping
    waited = provenance.epoch - provenance.best_epoch
    return provenance.epoch >= provenance.recipe.epochs or (patience is not None and waited >= patience)


class EpochBatches(Protocol):
    """Draws an epoch's batches: `epoch` says which, its length how many."""

    epoch: int

    def __len__(self) -> int:
        """Batches."""
        ...


class EpochKeeper(L.Callback):
    """Ties Lightning's hooks to the sampler, the labels of those who choose the epoch, and the journal.

    Args:
        batches: of the training rows.
        flipped: (n, V) views of the n rows that choose the epoch that are mirror images.
        occurrence: (n, A) their labels.
        journal: of the run.
    """

    def __init__(
        self, batches: EpochBatches, flipped: npt.NDArray[np.bool_], occurrence: Floats, journal: Journal
    ) -> None:
        self._batches, self._flipped, self._occurrence, self._journal = batches, flipped, occurrence, journal
        self._began = time.monotonic()

    def on_fit_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Put a resumed run's state in place."""
        if self._journal.before is not None:
            restore_state(trainer, pl_module, self._journal.before)

    def on_train_epoch_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Draw this epoch's batches."""
        self._batches.epoch = trainer.current_epoch
        self._began = time.monotonic()

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Report the step."""
        self._journal.step(self._progress(trainer, batch_idx + 1, {}))

    def on_validation_start(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Collect this epoch's outputs."""
        pl_module.watch(Collector(self._flipped), self._occurrence)

    def on_train_epoch_end(self, trainer: L.Trainer, pl_module: Any) -> None:
        """Judge the epoch, save it, and end the run if that is due."""
        numbers = pl_module.mean_losses() | pl_module.scores
        timed = numbers | {"seconds": time.monotonic() - self._began}
        progress = self._progress(trainer, len(self._batches), timed)
        keep = self._journal.judge(progress, pl_module.scores.get("auc", math.nan))
        if trainer.is_global_zero:
            self._journal.write(pl_module, training_state(trainer, pl_module), keep)
            for logger in trainer.loggers:
                logger.log_metrics(numbers, step=progress.epoch)
        trainer.strategy.barrier()
        self._journal.step(progress)
        trainer.should_stop = is_finished(self._journal.provenance)

    def _progress(self, trainer: L.Trainer, step: int, numbers: Mapping[str, float]) -> Progress:
        return Progress(trainer.current_epoch + 1, step, trainer.max_epochs or 0, len(self._batches), numbers)


def training_state(trainer: L.Trainer, module: EpochModule) -> TrainingState:
    """What going on from here needs beside the judged model."""
    optimizer = trainer.optimizers[0]
    states = {
        name: {key: torch.as_tensor(value) for key, value in optimizer.state[parameter].items()}
        for name, parameter in module.learner.named_parameters()
        if parameter in optimizer.state
    }
    weights: Mapping[str, Tensor] = {}
    if module.judged is not module.learner:
        learner = module.learner
        weights = learner.kept() if isinstance(learner, AUViT) else learner.state_dict()
    return TrainingState(states, weights, trainer.precision_plugin.state_dict())


def restore_state(trainer: L.Trainer, module: EpochModule, before: Checkpoint) -> None:
    """Go on where a checkpoint was saved: weights, their average, the optimiser's state, the loss's scale."""
    state = before.state
    if state is None:
        raise ValueError("this checkpoint was not saved for resuming")
    module.judged.load_state_dict(before.model.state_dict())
    if module.judged is not module.learner:
        learner = module.learner
        if isinstance(learner, AUViT):
            learner.load_kept(state.weights)
        else:
            learner.load_state_dict(dict(state.weights))
    if module.average is not None:
        # An average that has seen nothing would start over from the next weights.
        module.average.n_averaged.fill_(1)
    trainer.precision_plugin.load_state_dict(dict(state.scaler))
    optimizer = trainer.optimizers[0]
    for name, parameter in module.learner.named_parameters():
        if name in state.optimizer:
            optimizer.state[parameter] = {
                key: value.clone() if key == "step" else value.clone().to(parameter.device)
                for key, value in state.optimizer[name].items()
            }
