"""FAN-Trans on stored features, as a task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openau.datasets.manifest import aus_in, intensity_aus_in, sided_aus_in
from openau.distill.peers import Peers
from openau.errors import InputError, UsageError
from openau.models.fantrans import FANTrans, FANTransConfig, build
from openau.models.transfer import start_from
from openau.training.checkpoint import Checkpoint
from openau.training.data import FeatureData, statistics
from openau.training.joined import Features, judged, layout_of
from openau.training.labels import Labels, occurrence_targets, read_labels
from openau.training.module import AUModule
from openau.training.recipes import Recipe
from openau.training.splits import Index
from openau.training.task import Parts


class FeatureTask:
    """See `openau.training.task.Task`; faces are `Features`, the recipe is a `Recipe`."""

    def require_enough(self, faces: Features, train: Index, recipe: Recipe, devices: int) -> None:
        """At least a chunk for every device, and whole chunks in a batch's shares."""
        if recipe.chunks % devices:
            raise UsageError(
                f"batches of {recipe.chunks} chunks cannot be shared by {devices} devices; set chunks to a multiple"
            )
        if len(train) < recipe.chunk_size * devices:
            raise InputError(
                f"{faces.folder}: {len(train)} faces are left to train on, at least {recipe.chunk_size * devices} are needed"
            )

    def configure(self, faces: Features, recipe: Recipe) -> FANTransConfig:
        """See `configure`."""
        return configure(faces, recipe)

    def judged_views(self, faces: Features) -> npt.NDArray[np.bool_]:
        """Those of the plain view, if there is one."""
        return judged(faces).flipped

    def parts(
        self, faces: Features, train: Index, judging: Index, config: FANTransConfig, recipe: Recipe, seed: int, source: Checkpoint | None
    ) -> Parts:  # fmt: skip
        """As many models as the recipe has peers."""
        labels = read_labels(faces.rows, config.aus, config.intensity_aus, config.sided_aus)
        torch.manual_seed(seed)
        measured = statistics(faces, train, recipe.split_seed)
        members = [build(config) for _ in range(recipe.distillation.peers)]
        for member in members:
            member.set_statistics(
                measured.geometry_mean, measured.geometry_std, measured.channel_mean, measured.channel_std
            )
            if source is not None:
                _take_over(member, source)
        peers = Peers(members, recipe.distillation) if len(members) > 1 else None
        data = FeatureData(faces, train, judging, labels, recipe, config, seed)
        positive = positive_weights(labels, train, config, recipe)
        module = AUModule(members[0], recipe, positive, len(data.sampler), seed, peers)
        return Parts(module, data, data.sampler, labels.occurrence[judging])


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
    try:
        return FANTransConfig.of_layout(
            aus,
            [number for number in aus if number in with_intensity],
            [number for number in aus if number in with_sides and number in recipe.sided_aus],
            layout_of(store),
            **recipe.model,
        )
    except (ValueError, TypeError) as error:
        raise InputError(f"{store.folder}: the recipe {recipe.name} does not fit these features: {error}") from None


def positive_weights(labels: Labels, rows: Index, config: FANTransConfig, recipe: Recipe) -> Tensor:
    """(A,) 1 + clip(k / sqrt(mean target), .5, 3): rare AUs weigh more, within bounds."""
    targets = occurrence_targets(labels.occurrence[rows], labels.level[rows], config.aus, recipe)
    known = ~np.isnan(targets)
    rate = np.where(known, targets, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    weight = 1 + np.clip(recipe.positive_weight / np.sqrt(np.maximum(rate, 1e-3)), 0.5, 3.0)
    return torch.from_numpy(weight.astype(np.float32))


def _take_over(model: FANTrans, source: Checkpoint) -> None:
    try:
        if not isinstance(source.model, FANTrans):
            raise ValueError("it is another kind of model")
        start_from(model, source.model)
    except ValueError as error:
        raise UsageError(f"the model to start from ({source.provenance.data}) does not fit: {error}") from None
