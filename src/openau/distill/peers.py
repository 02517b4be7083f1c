"""K peers over one frozen extractor, in one process: what each of them says, and what each of them is taught."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from openau.distill.losses import binary_kl, relation, similarity
from openau.distill.settings import Distillation
from openau.distill.teachers import teacher
from openau.models.fantrans import AUOutput


class Columns(Protocol):
    """The part of a model's configuration that says what its outputs are."""

    @property
    def aus(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def sided_aus(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def token_width(self) -> int: ...  # noqa: D102


class Said(NamedTuple):
    """What one peer says about B faces: its outputs, and the tokens (B, A, W) they were read from."""

    output: AUOutput
    tokens: Tensor


class Lessons(NamedTuple):
    """What K peers are taught about B faces.

    Attributes:
        ensemble: what the teacher says, to be judged by the labels; gradients reach the teacher's own weights only.
        losses: mean over the peers of each taught loss, unweighted: "taught" (logits), "taught_intensity", "taught_features".
    """

    ensemble: AUOutput
    losses: dict[str, Tensor]


class Peers(nn.Module):
    """K models of one kind that learn together; the first one, the leader, is what remains.

    A member is any AU model with `judge(*inputs) -> (AUOutput, tokens (B, A, W))` and a `config` with the attributes of `Columns`. If its
    class has `judge_together(members, *inputs)`, which does the same for several at once, the peers run as that one computation.

    Args:
        members: K models, the leader first, with weights of their own.
        settings: how they teach each other.

    Raises:
        ValueError: the members are not as many as the settings say.
    """

    def __init__(self, members: Sequence[nn.Module], settings: Distillation) -> None:
        super().__init__()
        if len(members) != settings.peers:
            raise ValueError(f"{settings.peers} peers are asked for, {len(members)} given")
        self.members = nn.ModuleList(members)
        self.settings = settings
        config = cast(Columns, members[0].config)
        sides = [config.aus.index(number) for number in config.sided_aus]
        owners = [*range(len(config.aus)), *sides, *sides]
        self.teacher = teacher(settings.teacher, settings.peers, owners, config.token_width)
        self._widths = [len(config.aus), len(sides), len(sides)]

    @property
    def leader(self) -> nn.Module:
        """The member that is judged, kept and exported."""
        return self.members[0]

    def forward(self, *inputs: Tensor) -> list[Said]:
        """What each member says about the same faces."""
        together: Any = getattr(type(self.leader), "judge_together", None)
        if together is not None:
            return [Said(*one) for one in together(self.members, *inputs)]
        return [Said(*cast(Any, member).judge(*inputs)) for member in self.members]

    def teach(self, said: Sequence[Said]) -> Lessons:
        """Make lessons of what the members said; 32-bit arithmetic."""
        settings = self.settings
        logits = torch.stack(
            [torch.cat([one.output.occurrence, one.output.left, one.output.right], dim=1) for one in said]
        )
        tokens = torch.stack([one.tokens.float() for one in said])
        taught: Tensor = self.teacher(logits.float(), tokens)
        losses = {"taught": binary_kl(logits.float(), taught, settings.temperature)}
        intensity = torch.stack([one.output.intensity.float() for one in said])
        mean = intensity.detach().mean(dim=0)
        if settings.intensity_weight and intensity.shape[2]:
            losses["taught_intensity"] = functional.huber_loss(intensity, mean.expand_as(intensity))
        if settings.feature_weight:
            alike = torch.stack([similarity(one) for one in tokens]).mean(dim=0)
            losses["taught_features"] = torch.stack([relation(one, alike) for one in tokens]).mean()
        occurrence, left, right = torch.split(taught.mean(dim=0), self._widths, dim=1)
        return Lessons(AUOutput(occurrence, mean, left, right), losses)

    def weights(self, progress: float) -> dict[str, float]:
        """Weight of each taught loss at a point (0–1) of the run."""
        settings, ramp = self.settings, self.settings.ramp(progress)
        return {
            "taught": ramp * settings.logit_weight,
            "taught_intensity": ramp * settings.intensity_weight,
            "taught_features": ramp * settings.feature_weight,
        }
