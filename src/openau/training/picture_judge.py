"""Trained models that look at pixels against a data set: calibration, and predictions beside labels."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from openau.datasets.people import identities
from openau.errors import InputError
from openau.evaluation.scored import Scored
from openau.models.au_vit import AUViT
from openau.training.calibrate import PRIORS, Calibration, calibrate
from openau.training.checkpoint import Provenance
from openau.training.face_pictures import FacePictures
from openau.training.judge import scored
from openau.training.labels import read_labels
from openau.training.predict import Predictions, predict_pictures
from openau.training.splits import Index

Floats = npt.NDArray[np.float32]


def watched_rows(provenance: Provenance, faces: FacePictures) -> Index:
    """Rows of the subjects who chose the epoch: not trained on, and not part of any result.

    Raises:
        InputError: the data set holds none of them.
    """
    rows = _rows_of(faces, set(provenance.watched) - set(provenance.trained))
    if not len(rows):
        raise InputError(
            f"{faces.folder}: holds none of the validation subjects of this run, so there is nothing to calibrate on"
        )
    return rows


def unseen_rows(provenance: Provenance, faces: FacePictures) -> Index:
    """Rows of subjects the model has seen neither in training nor in the choice of an epoch.

    Raises:
        InputError: there are none.
    """
    strangers = set(identities(faces.rows).tolist()) - set(provenance.trained) - set(provenance.watched)
    rows = _rows_of(faces, strangers)
    if not len(rows):
        raise InputError(f"{faces.folder}: the model has seen every subject in it, so it can give no honest result")
    return rows


def calibrate_on(model: AUViT, faces: FacePictures, rows: Index, priors: Mapping[int, float] = PRIORS) -> Calibration:
    """Calibrate on these rows; each face is judged with its mirror image, as detection does."""
    logits = predict_pictures(model, faces, rows, mirror=True)
    labels = read_labels(faces.rows, model.config.aus, (), ()).occurrence[rows]
    nothing = np.zeros((0, 0), np.float32)
    return calibrate(logits, labels, nothing, nothing, model.config.aus, (), priors)


def judge_pictures(
    model: AUViT, calibration: Calibration, faces: FacePictures, rows: Index, name: str, provenance: Provenance
) -> Scored:
    """Calibrated predictions beside what the coders say."""
    logits = predict_pictures(model, faces, rows, mirror=True)
    scale, shift = (
        np.array([getattr(one, key) for one in calibration.occurrence], np.float32) for key in ("scale", "shift")
    )
    occurrence = (logits * scale + shift)[:, None]
    nothing = np.zeros((len(rows), 1, 0), np.float32)
    said = Predictions(occurrence, nothing, nothing, nothing)
    return scored(name, said, faces, rows, model.config.aus, (), data=faces.folder.name, selection=provenance.selection)


def _rows_of(faces: FacePictures, subjects: set[str]) -> Index:
    chosen = np.isin(identities(faces.rows), sorted(subjects)) if subjects else np.zeros(len(faces), bool)
    return np.flatnonzero(chosen & faces.ok[:, 0])
