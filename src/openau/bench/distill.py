"""What peers cost: a training step of K models that teach each other, beside a step of one model and beside the frozen extractor."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor

from openau.bench.loader import make_store
from openau.distill.peers import Peers, Said
from openau.distill.settings import Distillation
from openau.errors import InputError
from openau.faces import features
from openau.faces.finder import FaceFinder
from openau.faces.mesh import FaceMesh
from openau.media import open_video
from openau.models.fantrans import build
from openau.training.data import Batch, FeatureBatches, SubjectBatches, subject_numbers
from openau.training.feature_task import configure
from openau.training.labels import read_labels
from openau.training.module import AUModule
from openau.training.recipes import FANTRANS


@dataclass(frozen=True, slots=True)
class PeerCost:
    """Milliseconds of a training step.

    Attributes:
        peers: K.
        together: of K peers as `openau.distill` runs them.
        apart: of K peers one after the other.
        extractor: of the frozen network on the batch's faces, which is run once for all peers.
    """

    peers: int
    together: float
    apart: float
    extractor: float


class _OneByOne(Peers):
    """The same peers, each run by itself."""

    def forward(self, *inputs: Tensor) -> list[Said]:
        return [Said(*cast(Any, member).judge(*inputs)) for member in self.members]


def time_peers(counts: Sequence[int], clip: Path, folder: Path, rounds: int) -> list[PeerCost]:
    """Time steps of the recipe `fantrans` with so many peers; all settings in turn, medians over the rounds.

    Args:
        counts: numbers of peers.
        clip: video whose faces the extractor is timed on.
        folder: for a made-up feature store.
        rounds: how often each is timed.

    Raises:
        InputError: the clip shows no face.
    """
    store = make_store(folder / "store", 4 * FANTRANS.batch_size)
    extract = _extraction(clip, FANTRANS.batch_size)
    actions: dict[tuple[int, str], Callable[[], object]] = {(0, "extractor"): extract}
    for count in counts:
        for name, kind in (("together", Peers), ("apart", _OneByOne)):
            actions[count, name] = _training_step(store, count, kind)
    taken: dict[tuple[int, str], list[float]] = {key: [] for key in actions}
    for _ in range(rounds + 1):
        for key, action in actions.items():
            began = time.perf_counter()
            action()
            taken[key].append(1000 * (time.perf_counter() - began))
    # The first round warms up.
    medians = {key: statistics.median(values[1:]) for key, values in taken.items()}
    return [PeerCost(k, medians[k, "together"], medians[k, "apart"], medians[0, "extractor"]) for k in counts]


def _training_step(store: Any, count: int, kind: type[Peers]) -> Callable[[], object]:
    settings = Distillation(peers=count)
    recipe = replace(FANTRANS, distillation=settings)
    config = configure(store, recipe)
    labels = read_labels(store.rows, config.aus, config.intensity_aus, config.sided_aus)
    members = [build(config) for _ in range(count)]
    peers = kind(members, settings) if count > 1 else None
    module = AUModule(members[0], recipe, torch.ones(len(config.aus)), 1000, 0, peers)
    optimizer = module.configure_optimizers()
    rows = np.arange(len(store))
    batches = FeatureBatches(store, labels, recipe, config)
    batch: Batch = batches[next(iter(SubjectBatches(rows, subject_numbers(store), store.ok, recipe, 0)))]

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(module.training_step(batch, 0))
        module.on_before_optimizer_step(optimizer)
        optimizer.step()

    return step


def _extraction(clip: Path, faces: int) -> Callable[[], object]:
    """Face Mesh and what is read off it, for so many faces."""
    finder, mesh = FaceFinder(max_faces=1), FaceMesh()
    with open_video(clip) as frames:
        crops = [found[0].crop for frame in frames if (found := finder.find(frame.image))]
    if not crops:
        raise InputError(f"{clip}: no face was found in it")

    def run() -> None:
        for number in range(faces):
            seen = mesh.run(crops[number % len(crops)])
            features.geometry(seen.landmarks)

    return run
