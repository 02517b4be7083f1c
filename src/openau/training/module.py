"""The Lightning module: what one step minimises and how an epoch is judged."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor

from openau.distill.peers import Peers, Said
from openau.losses import masked_bce, masked_huber, ranking
from openau.models.attention_drop import AttentionDrop
from openau.models.fantrans import AUOutput, FANTrans
from openau.training.data import Batch, Views
from openau.training.epoch_module import EpochModule
from openau.training.recipes import Recipe, one_cycle, steps


class AUModule(EpochModule):
    """Trains FAN-Trans on a feature store's batches.

    Args:
        model: predicts `AUOutput`.
        peers: models that learn beside it, `model` being their leader; None = it learns alone.
        recipe: weights of the losses, schedule, noise.
        positive_weight: (A,) weight of positives in the occurrence loss.
        steps_per_epoch: batches of an epoch.
        seed: of noise and drop-out.
    """

    model: FANTrans

    def __init__(
        self,
        model: FANTrans,
        recipe: Recipe,
        positive_weight: Tensor,
        steps_per_epoch: int,
        seed: int,
        peers: Peers | None = None,
    ) -> None:
        super().__init__(model, recipe.ema, steps_per_epoch, seed)
        self.peers = peers
        self.recipe = recipe
        self.positive_weight: Tensor
        self.register_buffer("positive_weight", positive_weight, persistent=False)
        self._progress = 0.0

    @property
    def learner(self) -> torch.nn.Module:
        """What is trained: the peers with their teacher, or the model alone."""
        return self.model if self.peers is None else self.peers

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

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set learning rate and momentum of this step."""
        recipe = self.recipe
        self._progress = self.progress(batch_idx, recipe.accumulate, recipe.epochs)
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
            return self.weigh(parts, self._weights())
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
        return self.weigh(parts, weights)

    def _weights(self) -> dict[str, float]:
        """Weight of each loss of `loss_parts`."""
        recipe = self.recipe
        return {
            "occurrence": 1.0, "intensity": recipe.intensity_weight, "sides": recipe.side_weight, "ranking": recipe.ranking_weight,
            "kept": recipe.drop_weight,
        }  # fmt: skip

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

    def validation_step(self, batch: Views, batch_idx: int) -> None:
        """Collect the outputs of one batch of views."""
        self.collect(batch.row, batch.view, self.judged(batch.geometry, batch.hypercolumns))

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
