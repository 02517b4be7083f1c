"""How peers teach each other."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

TeacherKind = Literal["mean", "gated", "attention"]


@dataclass(frozen=True, slots=True)
class Distillation:
    """Online knowledge distillation, as FAN-Trans (Yang et al., WACV 2023) names it.

    Its abstract says no more than that [open]; number of peers, teacher, temperature, weights and ramp are options with these defaults.

    Attributes:
        peers: K models that are trained at once; 1 = no distillation. The first one, the *leader*, is judged and kept.
        teacher: who teaches (`openau.distill.teachers`): "mean" of the peers' logits; "gated", weighted by a learned gate as in ONE (Lan et
            al. 2018); "attention", as in OKDDip (Chen et al. 2020): every other peer has a mixture of its own, and the leader learns from
            the mean of the others.
        temperature: T of the softened probabilities.
        logit_weight: of T² · KL(teacher ‖ peer), per output.
        intensity_weight: of the Huber distance to the peers' mean intensity.
        feature_weight: of the distance between the peers' AU–AU similarities (`openau.distill.losses.relation`); 0 = logits only.
        ramp_up: share of the run over which the taught losses' weight rises to full, as exp(−5 (1 − t)²) (Laine & Aila 2017), so that peers
            do not copy each other before they know anything.

    Raises:
        ValueError: a number is out of its range.
    """

    peers: int = 1
    teacher: TeacherKind = "gated"
    temperature: float = 3.0
    logit_weight: float = 1.0
    intensity_weight: float = 0.5
    feature_weight: float = 0.0
    ramp_up: float = 0.3

    def __post_init__(self) -> None:
        if self.peers < 1:
            raise ValueError("distillation.peers must be at least 1")
        if self.teacher == "attention" and self.peers == 2:
            raise ValueError("the attention teacher needs at least 3 peers: a leader and two others that differ")
        if not 0 < self.temperature < math.inf:
            raise ValueError("distillation.temperature must be greater than 0")
        for name in ("logit_weight", "intensity_weight", "feature_weight"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"distillation.{name} must not be negative")
        if not 0 <= self.ramp_up <= 1:
            raise ValueError("distillation.ramp_up must lie between 0 and 1")

    def ramp(self, progress: float) -> float:
        """Weight (0–1) of what is taught at a point of the run.

        Args:
            progress: 0 at the first step, 1 at the last.
        """
        if progress >= self.ramp_up:
            return 1.0
        return math.exp(-5 * (1 - progress / self.ramp_up) ** 2)
