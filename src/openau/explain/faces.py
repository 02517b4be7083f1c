"""Which faces of a feature store a model is watched on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openau.datasets.people import identities
from openau.errors import InputError
from openau.models.fantrans import FANTrans
from openau.training.data import faces_at_once
from openau.training.joined import Features, judged
from openau.training.judge import Team, require_fit, rows_of
from openau.training.labels import read_labels

Index = npt.NDArray[np.intp]
Floats = npt.NDArray[np.float32]

_BATCH = 128


class Inputs(NamedTuple):
    """Features of B faces: geometry (B, G) and hypercolumns (B, P, C), float32; hypercolumns (B, 0, 0) where the model reads none."""

    geometry: Tensor
    hypercolumns: Tensor


@dataclass(frozen=True, eq=False)
class Faces:
    """Some faces of a feature store, one view of each, the plain one where the store has it.

    Attributes:
        store: whose views are judged.
        rows: (n,) of the store, in order.
        labels: (n, A) what is shown: 0, 1, or NaN where that is not known.
        people: how many there are in these rows.
        known_to_model: "unseen" neither trained on nor used to choose the epoch; "watched" chose the epoch; "trained" for want of others.
    """

    store: Features
    rows: Index
    labels: Floats
    people: int
    known_to_model: str

    def batches(self, model: FANTrans, chosen: Index | None = None) -> Iterator[Inputs]:
        """Features of all these faces, or of those at some positions, a batch at a time."""
        rows = self.rows if chosen is None else self.rows[chosen]
        views = np.asarray(self.store.ok[rows].argmax(axis=1), np.intp)
        step = faces_at_once(self.store, _BATCH)
        for start in range(0, len(rows), step):
            part = rows[start : start + step], views[start : start + step]
            columns = torch.empty((len(part[0]), 0, 0))
            if model.config.hypercolumns:
                columns = torch.from_numpy(self.store.hypercolumns[part].astype(np.float32))
            yield Inputs(torch.from_numpy(self.store.geometry[part].astype(np.float32)), columns)


def choose(team: Team, store: Features, most: int, seed: int = 0) -> Faces:
    """Faces of people the models were not trained on, if the store has such; drawn at random if there are more than asked for.

    Raises:
        InputError: the store holds other features than the models read, or no usable face.
    """
    require_fit(team, store)
    everyone = set(identities(store.rows).tolist())
    groups = {
        "unseen": everyone - team.trained - team.watched,
        "watched": everyone - team.trained,
        "trained": everyone,
    }
    found = {known: rows_of(store, subjects) for known, subjects in groups.items()}
    known = next((known for known, rows in found.items() if len(rows)), None)
    if known is None:
        raise InputError(f"{store.folder}: holds no picture in which a face was found")
    rows = found[known]
    if len(rows) > most:
        rows = np.sort(np.random.default_rng(seed).choice(rows, most, replace=False))
    config = team.ensemble.config
    labels = read_labels(store.rows, config.aus, (), ()).occurrence[rows]
    return Faces(judged(store), rows, labels, len(np.unique(identities(store.rows)[rows])), known)
