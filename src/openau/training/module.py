"""The Lightning module: what one step minimises and how an epoch is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import lightning as L
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from openau.distill.peers import Peers, Said
from openau.evaluation.metrics import best_f1, roc_auc
from openau.models.attention_drop import AttentionDrop
from openau.models.fantrans import AUOutput, FANTrans
from openau.training.data import Batch, Views
from openau.training.losses import masked_bce, masked_huber, ranking
from openau.training.predict import Collector
from openau.training.recipes import Recipe, one_cycle, steps

Floats = npt.NDArray[np.float32]


class AUModule(L.LightningModule):
    """Trains a model on a feature store's batches.

    Args:
        model: predicts `AUOutput`.
        peers: models that learn beside it, `model` being their leader; None = it learns alone.
        recipe: weights of the losses, schedule, noise.
        positive_weight: (A,) weight of positives in the occurrence loss.
        steps_per_epoch: batches of an epoch.
        seed: of noise and drop-out; every epoch starts from (seed, epoch, process), so a resumed run draws what an uninterrupted one would.

    Attributes:
        learner: everything that is trained: the peers and their teacher, or the model.
        average: the moving average of the model's weights, if the recipe wants one.
        scores: "auc" and "best_f1" (means over AUs) of the last validation; empty without validation rows.
    """

    def __init__(
        self,
        model: FANTrans,
        recipe: Recipe,
        positive_weight: Tensor,
        steps_per_epoch: int,
        seed: int,
        peers: Peers | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.peers = peers
        self.recipe = recipe
        self.positive_weight: Tensor
        self.register_buffer("positive_weight", positive_weight, persistent=False)
        self.average: AveragedModel | None = None
        if recipe.ema is not None:
            follow = get_ema_multi_avg_fn(recipe.ema)  # type: ignore[no-untyped-call]
            self.average = AveragedModel(model, multi_avg_fn=follow).requires_grad_(False)
        self.scores: dict[str, float] = {}
        self._steps_per_epoch, self._seed = steps_per_epoch, seed
        self._sums: dict[str, Tensor] = {}
        self._collector: Collector | None = None
        self._truth: Floats | None = None
        self._progress = 0.0

    @property
    def learner(self) -> torch.nn.Module:
        """What is trained: the peers with their teacher, or the model alone."""
        return self.model if self.peers is None else self.peers

    @property
    def judged(self) -> FANTrans:
        """The model whose weights are judged and kept: the moving average, if there is one."""
        return self.model if self.average is None else cast(FANTrans, self.average.module)

    def watch(self, collector_of: Collector, occurrence: Floats) -> None:
        """Judge the next validation by these labels (n, A)."""
        self._collector, self._truth = collector_of, occurrence

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW; its rate follows the recipe's schedule, set at every step."""
        recipe = self.recipe
        drops = [drop.keep_logit for drop in self.learner.modules() if isinstance(drop, AttentionDrop)]
        apart = {id(parameter) for parameter in drops}
        rest = [parameter for parameter in self.learner.parameters() if id(parameter) not in apart]
        groups: list[dict[str, Any]] = [{"params": rest, "pace": 1.0}]
        if drops:
            # Decay would pull every probability to one half, and at the others' pace they hardly leave where they start.
            groups.append({"params": drops, "pace": recipe.drop_pace, "weight_decay": 0.0})
        return torch.optim.AdamW(groups, recipe.learning_rate, weight_decay=recipe.weight_decay, fused=True)

    def on_train_epoch_start(self) -> None:
        """Start the epoch's own stream of random numbers."""
        entropy = [self._seed, self.current_epoch, self.global_rank]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        self._sums = {}

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set learning rate and momentum of this step."""
        recipe = self.recipe
        per_epoch = -(-self._steps_per_epoch // recipe.accumulate)
        done = self.current_epoch * per_epoch + batch_idx // recipe.accumulate
        self._progress = done / max(1, per_epoch * recipe.epochs - 1)
        for group in cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)).param_groups:
            if recipe.schedule == "steps":
                group["lr"] = group["pace"] * recipe.learning_rate * steps(self._progress)
                continue
            factor, beta = one_cycle(self._progress, recipe.warm_up)
            rate = group["pace"] * factor * recipe.learning_rate
            group["lr"], group["betas"] = rate, (beta, group["betas"][1])

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """The weighted sum of the recipe's losses; with peers, of each peer's and of what they teach each other."""
        inputs = self._disturb(batch.geometry), batch.hypercolumns
        if self.peers is None:
            parts = self.loss_parts(_in_32_bits(self.model(*inputs)), batch)
            return self._weighed(parts, self._weights())
        said = [Said(_in_32_bits(output), tokens) for output, tokens in self.peers(*inputs)]
        each = [self.loss_parts(one.output, batch) for one in said]
        parts = {name: torch.stack([losses[name] for losses in each]).mean() for name in each[0]}
        lessons = self.peers.teach(said)
        parts |= lessons.losses
        # Peers share no weight, so the sum over them, not the mean, gives each the gradient it would have alone.
        weights = {
            name: len(said) * weight for name, weight in (self._weights() | self.peers.weights(self._progress)).items()
        }
        if any(True for _ in self.peers.teacher.parameters()):
            parts["ensemble"] = self._occurrence_loss(lessons.ensemble, batch)
            weights["ensemble"] = 1.0
        return self._weighed(parts, weights)

    def _weights(self) -> dict[str, float]:
        """Weight of each loss of `loss_parts`."""
        recipe = self.recipe
        return {
            "occurrence": 1.0, "intensity": recipe.intensity_weight, "sides": recipe.side_weight, "ranking": recipe.ranking_weight,
            "kept": recipe.drop_weight,
        }  # fmt: skip

    def _weighed(self, parts: dict[str, Tensor], weights: dict[str, float]) -> Tensor:
        """The weighted sum; each part is noted for the epoch's mean."""
        for name, value in parts.items():
            self._sums[name] = self._sums.get(name, torch.zeros((), device=value.device)) + value.detach()
        return torch.stack([weights[name] * value for name, value in parts.items()]).sum()

    def _occurrence_loss(self, output: AUOutput, batch: Batch) -> Tensor:
        return masked_bce(output.occurrence, batch.occurrence, self.positive_weight)

    def loss_parts(self, output: AUOutput, batch: Batch) -> dict[str, Tensor]:
        """Every loss by name, unweighted."""
        recipe = self.recipe
        parts = {"occurrence": self._occurrence_loss(output, batch)}
        if output.intensity.shape[1]:
            parts["intensity"] = masked_huber(output.intensity, batch.intensity)
        if output.left.shape[1]:
            parts["sides"] = (masked_bce(output.left, batch.left) + masked_bce(output.right, batch.right)) / 2
        if recipe.ranking_weight:
            parts["ranking"] = ranking(
                output.occurrence, batch.level, batch.subject, recipe.chunk_size, recipe.ranking_margin
            )
        if recipe.drop_weight:
            drops = [module for module in self.model.modules() if isinstance(module, AttentionDrop)]
            parts["kept"] = torch.stack([torch.sigmoid(drop.keep_logit).mean() for drop in drops]).mean()
        return parts

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Bound the gradient's norm, each peer's by itself."""
        for part in [self.model] if self.peers is None else [*self.peers.members, self.peers.teacher]:
            torch.nn.utils.clip_grad_norm_(part.parameters(), self.recipe.clip)

    def optimizer_step(self, *arguments: Any, **named: Any) -> None:
        """Step, and let the moving average follow."""
        super().optimizer_step(*arguments, **named)
        if self.average is not None:
            self.average.update_parameters(self.model)

    def mean_losses(self) -> dict[str, float]:
        """Mean of each loss over the epoch, and over the processes."""
        sums = {name: cast(Tensor, self.all_gather(value)).mean() for name, value in self._sums.items()}
        return {name: float(value) / self._steps_per_epoch for name, value in sums.items()}

    def validation_step(self, batch: Views, batch_idx: int) -> None:
        """Collect the outputs of one batch of views."""
        if self._collector is not None:
            output: AUOutput = self.judged(batch.geometry, batch.hypercolumns)
            occurrence, intensity, left, right = (part.float().cpu().numpy() for part in output)
            self._collector.add(batch.row.cpu().numpy(), batch.view.cpu().numpy(), (occurrence, intensity, left, right))

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

    def _disturb(self, geometry: Tensor) -> Tensor:
        """Noise on geometry in units of its standard deviation: independent, and along one random direction per batch."""
        amount = self.recipe.geometry_noise
        if not amount:
            return geometry
        independent = torch.randn_like(geometry)
        direction = torch.randn_like(geometry[:1])
        along = torch.randn_like(geometry[:, :1])
        return geometry + amount * self.model.geometry_std * (independent + 0.5 * along * direction)


def _in_32_bits(output: AUOutput) -> AUOutput:
    """Losses are taken in 32 bits, whatever the network was run in."""
    return AUOutput(*(part.float() for part in output))


def mean_scores(logits: Floats, occurrence: Floats) -> dict[str, float]:
    """Mean over AUs of AUC and of the best F1 (chosen on the same faces, so an upper bound); AUs without both classes are left out."""
    columns = range(occurrence.shape[1])
    aucs = [roc_auc(logits[:, a], occurrence[:, a]) for a in columns]
    f1s = [best_f1(logits[:, a], occurrence[:, a])[0] for a in columns]
    return {"auc": _mean_of_defined(aucs), "best_f1": _mean_of_defined(f1s)}


def _mean_of_defined(values: list[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
