"""Models that look at pixels, as a task."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from openau.datasets.manifest import aus_in
from openau.errors import InputError, UsageError
from openau.models import create
from openau.models.au_vit import AUViTConfig
from openau.training.checkpoint import Checkpoint
from openau.training.face_pictures import FacePictures
from openau.training.labels import read_labels
from openau.training.picture_data import PictureData
from openau.training.picture_module import PictureModule
from openau.training.picture_recipes import PictureRecipe
from openau.training.pictures import Pictures, as_floats
from openau.training.splits import Index
from openau.training.task import Parts

RANDOM = "random"
"""Name of a backbone that has learned nothing."""

SAMPLE = 256
"""Training faces by which the head standardises what it reads."""


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
        """AUs that the recipe wants and the data knows, on the recipe's backbone."""
        known = aus_in(faces.rows)
        aus = known if recipe.aus is None else tuple(number for number in recipe.aus if number in known)
        if not aus:
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
        if source is not None:
            raise UsageError("a model that looks at pixels cannot start from another one yet")
        shares = torch.from_numpy(rates(labels.occurrence[train]))
        model.prepare(sample(faces, train, config.vit.size, recipe.split_seed), shares)
        data = PictureData(faces, train, judging, labels, recipe, config.vit.size, seed)
        module = PictureModule(model, recipe, shares, len(data.sampler), seed)
        return Parts(module, data, data.sampler, labels.occurrence[judging])


def sample(faces: FacePictures, rows: Index, size: int, seed: int) -> torch.Tensor:
    """(n, 3, S, S) pictures of up to `SAMPLE` of the rows, as they are, RGB in [0, 1]."""
    chosen = np.sort(np.random.default_rng([seed, 21]).permutation(rows)[:SAMPLE])
    pictures = Pictures(faces.folder, faces.rows, size)
    crops = np.stack([pictures.aligned(int(row)) for row in chosen])
    return as_floats(torch.from_numpy(crops).permute(0, 3, 1, 2))


def rates(occurrence: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """(A,) share of the known labels (N, A) that are positive; of an AU that is never known, 0."""
    known = ~np.isnan(occurrence)
    return np.asarray(np.where(known, occurrence, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1), np.float32)
