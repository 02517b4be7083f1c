"""Learning from renders' labels: where 68 landmarks are, how the head is turned, which AUs act and how strongly.

Landmarks are read off the patch tokens, so that these know what they show and where; head pose and AUs are read off the class token and
the patches' mean. Heads are linear: what is learned has to be in the ViT, which alone is kept.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from openau.errors import InputError
from openau.faces.align import FACE224, Matrix, apply, compose
from openau.faces.fan import MIRROR, POINTS
from openau.models.vit import ViT, ViTConfig
from openau.training.labels import Labels, read_labels
from openau.training.pretrain.crops import Faces, View
from openau.training.pretrain.recipe import PretrainRecipe

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float32]

EYES = float(FACE224[1, 0] - FACE224[0, 0]) / 224
"""Distance between the eyes, in sides of the crop: the unit of the landmarks' loss."""
ANGLE = 30.0
"""Degrees: the unit of the head pose's loss."""
ANGLES = ("pitch", "yaw", "roll")


@dataclass(frozen=True)
class Counts:
    """How many values the heads have to say: landmarks, angles, AUs by occurrence, by intensity, and with two sides."""

    landmarks: int
    angles: int
    occurrence: int
    intensity: int
    sided: int


class FaceTargets:
    """What a manifest knows about its faces, in the pixels of a varied crop; NaN where it does not.

    Args:
        faces: of a manifest.
        size: side S of the crops.
        recipe: a part whose weight is 0 is left out.

    Raises:
        InputError: there is no manifest, or it lacks all that the recipe wants.
    """

    def __init__(self, faces: Faces, size: int, recipe: PretrainRecipe) -> None:
        if faces.rows is None:
            raise InputError(
                f"{faces.source}: the objective landmarks needs a manifest with landmarks (`openau synth` writes one); "
                "for pictures without labels there is mae"
            )
        self._faces, self._size = faces, size
        rows = faces.rows
        self._landmarks = _landmarks(faces, recipe.landmark_weight > 0)
        self._pose = _pose(rows, recipe.pose_weight > 0)
        self._labels = _labels(rows, recipe.au_weight > 0)
        self.counts = Counts(
            POINTS * (self._landmarks is not None),
            3 * (self._pose is not None),
            self._labels.occurrence.shape[1],
            self._labels.intensity.shape[1],
            self._labels.left.shape[1],
        )

    def draw(self, row: int, view: View, rng: np.random.Generator) -> Mapping[str, Floats]:
        """Targets of a view.

        Returns:
            landmarks (68, 2) in sides of the crop from its middle, pose (3,) in units of `ANGLE`; occurrence (A,) 0 or 1, intensity (I,)
            and sides (2, S) 0–1, first what the picture shows as the subject's left. Absent where the manifest knows nothing of it.
        """
        alignment = self._faces.alignment(row, self._size)
        assert alignment is not None  # a manifest aligns
        matrix = compose(view.matrix, alignment)
        labels = self._labels
        found: dict[str, Floats] = {
            "occurrence": labels.occurrence[row],
            "intensity": labels.intensity[row] / 5,
            "sides": np.stack([labels.left_level[row], labels.right_level[row]][:: -1 if view.mirrored else 1]),
        }
        if self._landmarks is not None:
            points = apply(matrix, self._landmarks[row]) / self._size - 0.5
            found["landmarks"] = np.asarray(points[MIRROR] if view.mirrored else points, np.float32)
        if self._pose is not None:
            found["pose"] = turned(self._pose[row], matrix) / np.float32(ANGLE)
        return found


def turned(pose: Floats, matrix: Matrix) -> Floats:
    """Pitch, yaw and roll (3,) degrees of a face as a crop (2, 3) shows it: turned in the picture's plane, perhaps mirrored."""
    mirrored = float(np.linalg.det(matrix[:, :2])) < 0
    sign = -1.0 if mirrored else 1.0
    angle = math.degrees(math.atan2(sign * matrix[1, 0], sign * matrix[0, 0]))
    pitch, yaw, roll = (float(value) for value in pose)
    return np.array([pitch, sign * yaw, (sign * roll + angle + 180) % 360 - 180], np.float32)


class FaceReader(nn.Module):
    """A ViT with linear heads for all that `FaceTargets` knows, and the loss.

    A landmark is a mean over the patches t of centre_t + offset_t, weighted by a softmax over them; offsets and weights are linear in the
    patch's token. Losses are means over pictures of the mean over what is known of each: |error| in eye distances for landmarks, smooth
    |error| in units of 30° for the pose, cross-entropy for occurrence, |error| of intensities (share of 5).

    Args:
        vit: trained in place.
        counts: of the targets.
        recipe: weights of the parts.
    """

    def __init__(self, vit: ViT, counts: Counts, recipe: PretrainRecipe) -> None:
        super().__init__()
        config = vit.config
        self.vit, self.counts = vit, counts
        self._weights = {
            "landmarks": recipe.landmark_weight, "pose": recipe.pose_weight,
            "occurrence": recipe.au_weight, "intensity": recipe.au_weight, "sides": recipe.au_weight,
        }  # fmt: skip
        self.places = nn.Linear(config.width, 3 * counts.landmarks) if counts.landmarks else None
        self._sizes = (counts.angles, counts.occurrence, counts.intensity, 2 * counts.sided)
        self.whole = nn.Linear((1 + config.class_token) * config.width, sum(self._sizes)) if sum(self._sizes) else None
        self.register_buffer("centres", centres(config), persistent=False)
        for module in (self.places, self.whole):
            if module is not None:
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def read(self, pixels: Tensor) -> dict[str, Tensor]:
        """What is seen in pixels (B, 3, S, S) in [0, 1]: see `FaceTargets.draw`; `occurrence` are logits."""
        tokens = self.vit(pixels)
        patches = tokens[:, self.vit.config.prefix :]
        said: dict[str, Tensor] = {}
        if self.places is not None:
            weights, across, down = self.places(patches).float().chunk(3, dim=-1)
            weights = weights.softmax(dim=1)
            points = torch.stack([across, down], dim=-1) + self.get_buffer("centres")[:, None]
            said["landmarks"] = (weights[..., None] * points).sum(dim=1)
        if self.whole is not None:
            mean = patches.mean(dim=1)
            seen = torch.cat([tokens[:, 0], mean], dim=-1) if self.vit.config.class_token else mean
            pose, occurrence, intensity, sides = self.whole(seen).float().split(self._sizes, dim=-1)
            said |= {
                "pose": pose,
                "occurrence": occurrence,
                "intensity": intensity,
                "sides": sides.unflatten(-1, (2, -1)),
            }
        return said

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """`loss` and its parts before they are weighted; a part nothing is known about is absent."""
        said = self.read(batch["pixels"].float() / 255)
        parts = {
            name: _LOSSES[name](said[name], batch[name])
            for name in self._weights
            if name in said and name in batch and batch[name].numel()
        }
        total = torch.stack([self._weights[name] * part for name, part in parts.items()]).sum()
        return {"loss": total, **parts}


def centres(config: ViTConfig) -> Tensor:
    """Middles (T, 2) of the patches, x and y, in sides of the picture from its middle."""
    line = (torch.arange(config.grid) + 0.5) / config.grid - 0.5
    down, across = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([across, down], dim=-1).flatten(0, 1)


def known_mean(errors: Tensor, wanted: Tensor) -> Tensor:
    """Mean over pictures of the mean over what is known (not NaN) of each; pictures of which nothing is known count as 0.

    Args:
        errors: (B, …); values at unknown places are ignored and get no gradient.
        wanted: the same shape.
    """
    known = (~wanted.isnan()).flatten(1)
    errors = torch.where(known, errors.flatten(1), 0.0)
    return (errors.sum(dim=1) / known.sum(dim=1).clamp_min(1)).mean()


def _landmark_loss(said: Tensor, wanted: Tensor) -> Tensor:
    return known_mean((said - wanted.nan_to_num()).abs() / EYES, wanted)


def _pose_loss(said: Tensor, wanted: Tensor) -> Tensor:
    return known_mean(functional.smooth_l1_loss(said, wanted.nan_to_num(), reduction="none", beta=0.1), wanted)


def _occurrence_loss(said: Tensor, wanted: Tensor) -> Tensor:
    errors = functional.binary_cross_entropy_with_logits(said, wanted.nan_to_num(), reduction="none")
    return known_mean(errors, wanted)


def _intensity_loss(said: Tensor, wanted: Tensor) -> Tensor:
    return known_mean((said - wanted.nan_to_num()).abs(), wanted)


_LOSSES = {
    "landmarks": _landmark_loss,
    "pose": _pose_loss,
    "occurrence": _occurrence_loss,
    "intensity": _intensity_loss,
    "sides": _intensity_loss,
}


def _landmarks(faces: Faces, wanted: bool) -> Floats | None:
    """(N, 68, 2) pixels of the pictures; None if they are not wanted.

    Raises:
        InputError: the manifest has none.
    """
    if not wanted:
        return None
    rows = faces.rows
    if rows is None or "landmarks" not in rows.column_names:
        raise InputError(
            f"{faces.source}: has no column landmarks; `openau synth` writes one, and --set landmark_weight=0 does without"
        )
    nothing = [math.nan] * (2 * POINTS)
    values: list[Any] = [nothing if value is None else value for value in rows.column("landmarks").to_pylist()]
    return np.array(values, np.float32).reshape(-1, POINTS, 2)


def _pose(rows: pa.Table, wanted: bool) -> Floats | None:
    if not wanted or any(name not in rows.column_names for name in ANGLES):
        return None
    columns = [rows.column(name).to_numpy(zero_copy_only=False) for name in ANGLES]
    return np.stack(columns, axis=1).astype(np.float32)


def _labels(rows: pa.Table, wanted: bool) -> Labels:
    from openau.datasets.manifest import aus_in, intensity_aus_in, sided_aus_in

    if not wanted:
        return read_labels(rows, (), (), ())
    return read_labels(rows, aus_in(rows), intensity_aus_in(rows), sided_aus_in(rows))
