"""Models that look at pixels, as a task."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openau.datasets.manifest import aus_in
from openau.errors import InputError, UsageError
from openau.models import create
from openau.models.au_vit import AUViT, AUViTConfig
from openau.models.vit_transfer import start_from
from openau.training.calibrate import PRIORS, USUAL_PRIOR
from openau.training.checkpoint import Checkpoint
from openau.training.face_pictures import FacePictures
from openau.training.labels import Labels, read_labels
from openau.training.picture_data import PictureData
from openau.training.picture_module import PictureModule
from openau.training.picture_recipes import PictureRecipe
from openau.training.pictures import Pictures, as_floats
from openau.training.predict import predict_pictures
from openau.training.splits import Index
from openau.training.task import Parts

Floats = npt.NDArray[np.float32]

RANDOM = "random"
"""Name of a backbone that has learned nothing."""

SAMPLE = 256
"""Training faces by which the head standardises what it reads."""

LEAST = 5
"""Faces that show an AU, and faces that do not, without which a recipe that remembers leaves the AU as it was [ours]."""


class PictureTask:
    """See `openau.training.task.Task`; faces are `FacePictures`, the recipe is a `PictureRecipe`."""

    def require_enough(self, faces: FacePictures, train: Index, recipe: PictureRecipe, devices: int) -> None:
        """At least two faces for every device."""
        if recipe.batch % devices:
            raise UsageError(
                f"batches of {recipe.batch} faces cannot be shared by {devices} devices; set batch to a multiple"
            )
        if len(train) < 2 * devices:
            raise InputError(
                f"{faces.folder}: {len(train)} faces are left to train on, at least {2 * devices} are needed"
            )

    def configure(self, faces: FacePictures, recipe: PictureRecipe) -> AUViTConfig:
        """AUs that the recipe wants and the data knows (or that are remembered), on the recipe's backbone."""
        known = aus_in(faces.rows)
        wanted = known if recipe.aus is None else recipe.aus
        common = tuple(number for number in wanted if number in known)
        aus = wanted if recipe.remember else common
        if not common:
            raise InputError(f"{faces.folder}: no row has a known label for any of the AUs to train")
        try:
            pretrained = False if recipe.backbone == RANDOM else recipe.backbone
            return create.configure(recipe.architecture, aus, pretrained, **recipe.model)[0]
        except (ValueError, TypeError) as error:
            raise InputError(f"the recipe {recipe.name} makes no model: {error}") from None

    def judged_views(self, faces: FacePictures) -> npt.NDArray[np.bool_]:
        """A picture is judged as it is."""
        return faces.flipped

    def parts(
        self,
        faces: FacePictures,
        train: Index,
        judging: Index,
        config: AUViTConfig,
        recipe: PictureRecipe,
        seed: int,
        source: Checkpoint | None,
    ) -> Parts:
        """The model, its learnable part fresh or from `source`."""
        labels = read_labels(faces.rows, config.aus, (), ())
        torch.manual_seed(seed)
        model = create.create_again(config)
        taught, remembered = labels, None
        if recipe.remember:
            taught, remembered = _shared_out(faces, train, labels, model, source)
        shares = torch.from_numpy(rates(taught.occurrence[train], config.aus, recipe.shrink))
        if source is None or set(config.aus) - set(source.model.config.aus):
            model.prepare(sample(faces, train, config.vit.size, recipe.split_seed), shares)
        if source is not None:
            _take_over(model, source)
        data = PictureData(faces, train, judging, taught, recipe, config.vit.size, seed)
        module = PictureModule(model, recipe, shares, len(data.sampler), seed, remembered)
        return Parts(module, data, data.sampler, labels.occurrence[judging])


def sample(faces: FacePictures, rows: Index, size: int, seed: int) -> torch.Tensor:
    """(n, 3, S, S) pictures of up to `SAMPLE` of the rows, as they are, RGB in [0, 1]."""
    chosen = np.sort(np.random.default_rng([seed, 21]).permutation(rows)[:SAMPLE])
    pictures = Pictures(faces.folder, faces.rows, size)
    crops = np.stack([pictures.aligned(int(row)) for row in chosen])
    return as_floats(torch.from_numpy(crops).permute(0, 3, 1, 2))


def rates(occurrence: Floats, aus: tuple[int, ...] = (), shrink: float = 0) -> Floats:
    """(A,) share of the known labels (N, A) that are positive; of an AU that is never known, 0.

    Args:
        occurrence: labels.
        aus: of the columns, where `shrink` is above 0.
        shrink: faces of each AU's life-like rate that are counted as well.
    """
    known = ~np.isnan(occurrence)
    usual = np.array([PRIORS.get(number, USUAL_PRIOR) for number in aus]) if shrink else 0.0
    positives = np.where(known, occurrence, 0).sum(axis=0) + shrink * usual
    return np.asarray(positives / np.maximum(known.sum(axis=0) + shrink, 1), np.float32)


def teachable(occurrence: Floats) -> npt.NDArray[np.bool_]:
    """(A,) AUs that enough faces (N, A) show, and enough do not, for labels to teach them."""
    return np.asarray(((occurrence > 0.5).sum(axis=0) >= LEAST) & ((occurrence < 0.5).sum(axis=0) >= LEAST))


def _shared_out(
    faces: FacePictures, train: Index, labels: Labels, model: AUViT, source: Checkpoint | None
) -> tuple[Labels, Tensor | None]:
    """Labels of the AUs that labels teach, and (N, A) what is to be remembered of the others.

    That is the source's own probability, of each face and its mirror image together; None if there is nothing to remember.

    Raises:
        UsageError: there is no source to remember.
    """
    if source is None:
        raise UsageError("a recipe that remembers needs a checkpoint to start from")
    learned = teachable(labels.occurrence[train])
    if learned.all():
        return labels, None
    occurrence = np.where(learned, labels.occurrence, np.float32(np.nan))
    assert isinstance(source.model, AUViT)
    said = 0.5 * (1 + np.tanh(0.5 * predict_pictures(source.model, faces, train, mirror=True)))
    kept = np.full_like(occurrence, np.nan)
    for column, number in enumerate(model.config.aus):
        if not learned[column] and number in source.model.config.aus:
            kept[train, column] = said[:, source.model.config.aus.index(number)]
    return replace(labels, occurrence=occurrence), torch.from_numpy(kept)


def _take_over(model: AUViT, source: Checkpoint) -> None:
    try:
        if not isinstance(source.model, AUViT):
            raise ValueError("it is another kind of model")
        start_from(model, source.model)
    except ValueError as error:
        raise UsageError(f"the model to start from ({source.provenance.data}) does not fit: {error}") from None
