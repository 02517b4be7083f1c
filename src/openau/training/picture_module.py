"""The Lightning module of models that look at pixels."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from openau.losses import AsymmetricLoss, MDWALoss, WeightedBCELoss, WeightedDiceLoss, difficulty_gammas, masked_bce
from openau.models.au_vit import AUViT
from openau.training.epoch_module import EpochModule
from openau.training.picture_recipes import PictureRecipe, warm_cosine
from openau.training.pictures import PictureBatch, as_floats


class PictureModule(EpochModule):
    """Trains an AU model on pictures; the optimiser sees what is learnable and nothing else.

        L = L_occurrence + dice · L_WDI + expert · L'_occurrence

    L' judges each expert stream on its own AU, over all supervised blocks [F].

    Args:
        model: judges pixels.
        recipe: weights of the losses, schedule.
        rates: (N,) share of the training faces that show each AU.
        steps_per_epoch: batches of an epoch.
        seed: of noise.
        remembered: (rows of the manifest, N) probabilities that the logits are to keep, NaN where labels teach instead; None = there are
            none. Then `remember · L_BCE(logits, remembered)` is added, which is least where nothing has changed.
    """

    model: AUViT
    remembered: Tensor | None

    def __init__(
        self,
        model: AUViT,
        recipe: PictureRecipe,
        rates: Tensor,
        steps_per_epoch: int,
        seed: int,
        remembered: Tensor | None = None,
    ) -> None:
        super().__init__(model, recipe.ema, steps_per_epoch, seed)
        self.recipe = recipe
        self.occurrence = occurrence_loss(recipe, rates)
        self.dice = WeightedDiceLoss(rates.tolist())
        self.register_buffer("remembered", remembered, persistent=False)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """AdamW on what learns; its rate is set at every step."""
        learning = [weight for weight in self.model.parameters() if weight.requires_grad]
        groups = [
            {"params": [weight for weight in learning if weight.ndim > 1], "weight_decay": self.recipe.weight_decay},
            {"params": [weight for weight in learning if weight.ndim <= 1], "weight_decay": 0.0},
        ]
        return torch.optim.AdamW([group for group in groups if group["params"]], self.recipe.learning_rate, fused=True)

    def on_train_batch_start(self, batch: PictureBatch, batch_idx: int) -> None:
        """Set this step's learning rate."""
        recipe = self.recipe
        rate = recipe.learning_rate * warm_cosine(
            self.progress(batch_idx, recipe.accumulate, recipe.epochs), recipe.warm_up
        )
        for group in cast(torch.optim.Optimizer, self.optimizers(use_pl_optimizer=False)).param_groups:
            group["lr"] = rate

    def training_step(self, batch: PictureBatch, batch_idx: int) -> Tensor:
        """The weighted sum of the recipe's losses; they are taken in 32 bits."""
        logits, experts = self.model.judge(as_floats(batch.pixels))
        logits = logits.float()
        parts = {"occurrence": self.occurrence(logits, batch.occurrence)}
        if self.recipe.dice_weight:
            parts["dice"] = self.dice(logits, batch.occurrence)
        if experts is not None and self.recipe.expert_weight:
            blocks = experts.shape[1]
            targets = batch.occurrence.repeat_interleave(blocks, dim=0)
            parts["experts"] = self.occurrence(experts.float().flatten(0, 1), targets)
        if self.remembered is not None:
            parts["remembered"] = masked_bce(logits, self.remembered[batch.row])
        recipe = self.recipe
        weights = {
            "occurrence": 1.0, "dice": recipe.dice_weight, "experts": recipe.expert_weight, "remembered": recipe.remember,
        }  # fmt: skip
        return self.weigh(parts, weights)

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Bound the gradient's norm."""
        torch.nn.utils.clip_grad_norm_([w for w in self.model.parameters() if w.requires_grad], self.recipe.clip)

    def validation_step(self, batch: PictureBatch, batch_idx: int) -> None:
        """Collect the logits of one batch; `row` counts the watched rows."""
        logits = self.judged(as_floats(batch.pixels))
        nothing = logits.new_zeros((len(logits), 0))
        self.collect(batch.row, torch.zeros_like(batch.row), (logits, nothing, nothing, nothing))


def occurrence_loss(recipe: PictureRecipe, rates: Tensor) -> nn.Module:
    """What a recipe calls its loss, for AUs of these rates: (B, N) logits, (B, N) 0, 1 or NaN → a number."""
    shares = rates.tolist()
    if recipe.loss == "mdwa":
        if recipe.hard_gamma is None:
            return MDWALoss(shares, recipe.margin, recipe.gamma)
        return MDWALoss(shares, recipe.margin, difficulty_gammas(shares, recipe.gamma, recipe.hard_gamma).tolist())
    if recipe.loss == "wbce":
        return WeightedBCELoss(shares)
    return AsymmetricLoss() if recipe.loss == "asl" else MaskedBCE()


class MaskedBCE(nn.Module):
    """Plain binary cross-entropy over the known labels."""

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Mean loss."""
        return masked_bce(logits, targets)
