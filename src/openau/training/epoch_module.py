"""What every model's Lightning module has in common: an epoch's own random numbers, sums of losses, a moving average, a judged epoch."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from openau.evaluation.metrics import best_f1, roc_auc
from openau.training.predict import Collector

Floats = npt.NDArray[np.float32]


class EpochModule(L.LightningModule):
    """A model in training; subclasses say what a step minimises, with which optimiser, and how a batch is judged.

    Args:
        model: what is trained and kept.
        ema: decay per optimiser step of its weights' moving average; None = there is none.
        steps_per_epoch: batches of an epoch.
        seed: of noise and drop-out; every epoch starts from (seed, epoch, process), so a resumed run draws what an uninterrupted one would.

    Attributes:
        average: the moving average of the model's weights, if there is one.
        scores: "auc" and "best_f1" (means over AUs) of the last validation; empty without validation rows.
    """

    def __init__(self, model: nn.Module, ema: float | None, steps_per_epoch: int, seed: int) -> None:
        super().__init__()
        self.model = model
        self.average: AveragedModel | None = None
        if ema is not None:
            follow = get_ema_multi_avg_fn(ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(model, multi_avg_fn=follow).requires_grad_(False)
        self.scores: dict[str, float] = {}
        self.steps_per_epoch = steps_per_epoch
        self._seed = seed
        self._sums: dict[str, Tensor] = {}
        self._collector: Collector | None = None
        self._truth: Floats | None = None

    @property
    def learner(self) -> nn.Module:
        """Everything that is trained."""
        return self.model

    @property
    def judged(self) -> nn.Module:
        """The model whose weights are judged and kept: the moving average, if there is one."""
        return self.model if self.average is None else self.average.module

    def watch(self, collector: Collector, occurrence: Floats) -> None:
        """Judge the next validation by these labels (n, A)."""
        self._collector, self._truth = collector, occurrence

    def progress(self, batch_idx: int, accumulate: int, epochs: int) -> float:
        """How much of the run is done, 0–1, at a batch of the current epoch."""
        per_epoch = -(-self.steps_per_epoch // accumulate)
        done = self.current_epoch * per_epoch + batch_idx // accumulate
        return done / max(1, per_epoch * epochs - 1)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own stream of random numbers."""
        entropy = [self._seed, self.current_epoch, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self._sums = {}

    def weigh(self, parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """The weighted sum; each part is noted for the epoch's mean."""
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        return torch.stack([weights[name] * value for name, value in parts.items()]).sum()

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, and let the moving average follow."""
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss over the epoch, and over the processes."""
        sums = {name: cast(Tensor, self.all_gather(value)).mean() for name, value in self._sums.items()}
        return {name: float(value) / self.steps_per_epoch for name, value in sums.items()}

    def collect(self, row: Tensor, view: Tensor, outputs: tuple[Tensor, ...]) -> None:
        """Keep the outputs (B, …) of some rows (positions among the watched ones) and views."""
        if self._collector is not None:
            occurrence, intensity, left, right = (part.float().cpu().numpy() for part in outputs)
            self._collector.add(row.cpu().numpy(), view.cpu().numpy(), (occurrence, intensity, left, right))

    def on_validation_epoch_end(self) -> None:
        """Score faces by the mean over their views."""
        if self._collector is not None and self._truth is not None:
            said = self._collector.finish()
            whole = replace(said, occurrence=self._from_all_processes(said.occurrence))
            self.scores = mean_scores(whole.mean().occurrence[:, 0], self._truth)

    def _from_all_processes(self, part: Floats) -> Floats:
        """(n, V, A): each process's share put together; NaN only where nobody has a value."""
        if self.trainer.world_size == 1:
            return part
        gathered = self.all_gather(torch.from_numpy(part).nan_to_num(nan=-torch.inf).to(self.device))
        largest = cast(Tensor, gathered).amax(dim=0)
        return np.asarray(torch.where(largest == -torch.inf, torch.nan, largest).cpu().numpy())


def mean_scores(logits: Floats, occurrence: Floats) -> dict[str, float]:
    """Mean over AUs of AUC and of the best F1 (chosen on the same faces, so an upper bound); AUs without both classes are left out."""
    columns = range(occurrence.shape[1])
    aucs = [roc_auc(logits[:, a], occurrence[:, a]) for a in columns]
    f1s = [best_f1(logits[:, a], occurrence[:, a])[0] for a in columns]
    return {"auc": _mean_of_defined(aucs), "best_f1": _mean_of_defined(f1s)}


def _mean_of_defined(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
