"""What a model says about a feature store: logits of every view, and their mean per face with mirror images set right."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from openau.models.au_vit import AUViT
from openau.models.fantrans import AUOutput, FANTrans
from openau.training.data import Index, ViewBatches
from openau.training.face_pictures import FacePictures
from openau.training.joined import Features
from openau.training.labels import read_labels
from openau.training.pictures import Pictures, WatchedPictures, as_floats
from openau.training.recipes import Precision

Floats = npt.NDArray[np.float32]
Head = Callable[[Floats, Floats], tuple[Floats, Floats, Floats, Floats]]
"""geometry (B, G), hypercolumns (B, P, C), float32 → occurrence, intensity, left, right."""


@dataclass(frozen=True)
class Predictions:
    """Outputs for n rows and V views; NaN where a view holds no face. Left and right are the subject's, also in mirrored views.

    Attributes:
        occurrence: (n, V, A) logits. intensity: (n, V, A_i). left, right: (n, V, S) logits.
    """

    occurrence: Floats
    intensity: Floats
    left: Floats
    right: Floats

    def mean(self, views: Sequence[int] | None = None) -> Predictions:
        """Average over views (default all that hold a face), as (n, 1, …)."""
        chosen = slice(None) if views is None else list(views)
        return Predictions(
            *(_nanmean(values[:, chosen]) for values in (self.occurrence, self.intensity, self.left, self.right))
        )


def predict(model: nn.Module, store: Features, rows: Index) -> Predictions:
    """Run a PyTorch model (on its own device, in evaluation mode) on all usable views of some rows."""
    device = next(model.parameters()).device
    was_training = model.training
    model.eval()

    def run(geometry: Floats, hypercolumns: Floats) -> tuple[Floats, Floats, Floats, Floats]:
        with torch.no_grad():
            output: AUOutput = model(torch.from_numpy(geometry).to(device), torch.from_numpy(hypercolumns).to(device))
        occurrence, intensity, left, right = (part.float().cpu().numpy() for part in output)
        return occurrence, intensity, left, right

    reads_hypercolumns = any(isinstance(part, FANTrans) and part.config.hypercolumns for part in model.modules())
    try:
        return predict_with(run, store, rows, reads_hypercolumns)
    finally:
        model.train(was_training)


def predict_pictures(
    model: AUViT, faces: FacePictures, rows: Index, precision: Precision = "32", mirror: bool = False
) -> Floats:
    """Logits (n, A) of a model that looks at pixels (on its own device, in evaluation mode), of rows that have a picture.

    Args:
        model: the model.
        faces: data set.
        rows: (n,) of its rows.
        precision: of the arithmetic.
        mirror: average each picture and its mirror image, as detection does.

    Raises:
        InputError: a picture cannot be read.
    """
    device = next(model.parameters()).device
    pictures = Pictures(faces.folder, faces.rows, model.config.vit.size)
    batches = WatchedPictures(pictures, read_labels(faces.rows, (), (), ()), rows)
    found = [np.zeros((0, len(model.config.aus)), np.float32)]
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16-mixed"):
            for number in range(len(batches)):
                pixels = as_floats(batches[number].pixels.to(device))
                logits = model(pixels)
                if mirror:
                    logits = (logits + model(pixels.flip(-1))) / 2
                found.append(logits.float().cpu().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(found)


def predict_with(head: Head, store: Features, rows: Index, reads_hypercolumns: bool = True) -> Predictions:
    """Run any head on all usable views of some rows; one that does not read hypercolumns is given (B, 0, 0)."""
    collector = Collector(store.flipped[rows])
    for batch in ViewBatches(store, rows, reads_hypercolumns):  # type: ignore[attr-defined]
        outputs = head(batch.geometry.numpy(), batch.hypercolumns.numpy().astype(np.float32))
        collector.add(batch.row.numpy(), batch.view.numpy(), outputs)
    return collector.finish()


class Collector:
    """Puts batches of outputs in their places.

    Args:
        flipped: (n, V) which views of n faces are mirror images.
    """

    def __init__(self, flipped: npt.NDArray[np.bool_]) -> None:
        self._flipped = flipped
        self._parts: list[Floats] | None = None

    def add(self, row: Index, view: Index, outputs: tuple[Floats, Floats, Floats, Floats]) -> None:
        """Outputs (B, …) of these positions among the rows and these views."""
        occurrence, intensity, left, right = outputs
        mirrored = self._flipped[row, view][:, None]
        outputs = (occurrence, intensity, np.where(mirrored, right, left), np.where(mirrored, left, right))
        if self._parts is None:
            self._parts = [np.full((*self._flipped.shape, part.shape[1]), np.nan, np.float32) for part in outputs]
        for place, part in zip(self._parts, outputs, strict=True):
            place[row, view] = part

    def finish(self) -> Predictions:
        """All of it.

        Raises:
            ValueError: nothing was added.
        """
        if self._parts is None:
            raise ValueError("none of the rows has a usable view")
        return Predictions(*self._parts)


def _nanmean(values: Floats) -> Floats:
    known = ~np.isnan(values)
    count = known.sum(axis=1, keepdims=True)
    total = np.where(known, values, 0).sum(axis=1, keepdims=True)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan).astype(np.float32)
