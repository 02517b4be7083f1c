"""Pre-train a ViT on pictures of faces.

RUN/backbone.safetensors   the ViT after the last finished epoch: what the run is for
RUN/last.safetensors       ViT, heads or decoder, and optimiser of the same epoch, to resume from
RUN/config.json            the recipe
RUN/environment.json       data, options; and for every start of the run: command, versions, machine
RUN/metrics.csv            losses of the pictures trained on and, as watched_…, of those kept away, an epoch per row
RUN/crops/                 the crop cache, unless it is kept elsewhere

Several processes share every batch: what is drawn depends on (seed, epoch, row) alone, so a recipe means the same for any number.
"""

from __future__ import annotations

import json
import logging
import math
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric import Fabric
from lightning.fabric.utilities.exceptions import MisconfigurationException
from torch import Tensor, nn

from openau.errors import InputError, UsageError
from openau.models.backbones import load_backbone, save_backbone
from openau.models.vit import ViT
from openau.outputs import make_folder, whole_file
from openau.training.pretrain.checkpoint import (
    PretrainState,
    load_state,
    optimizer_state,
    restore_optimizer,
    save_state,
)
from openau.training.pretrain.crops import Crops, Faces, View, build_crops
from openau.training.pretrain.landmarks import FaceReader, FaceTargets
from openau.training.pretrain.mae import MaskedAutoencoder, MaskedPatches
from openau.training.pretrain.recipe import PretrainRecipe
from openau.training.record import METRICS, start_facts, write_metrics

BACKBONE, LAST, CONFIG, ENVIRONMENT, CACHE = (
    "backbone.safetensors", "last.safetensors", "config.json", "environment.json", "crops",
)  # fmt: skip
WATCHED = 1000
"""At most so many pictures are looked at after an epoch."""

Index = npt.NDArray[np.intp]
Batch = dict[str, Tensor]


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is given beside its recipe.

    Attributes:
        seed: of weights, batches and noise. The pictures kept away do not depend on it.
        threads: of the network, per process. loaders: threads that make batches, per process.
        device: Lightning's name of an accelerator ("cpu", "gpu", "auto"). devices: how many, or processes on a CPU.
        cache: folder of the crop cache; None for RUN/crops.
        workers: processes that make the cache; None for one per CPU.
    """

    seed: int = 0
    threads: int = 1
    loaders: int = 1
    device: str = "cpu"
    devices: int = 1
    cache: Path | None = None
    workers: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: epoch and step (from 1; epoch 0 is the making of the cache) and, at the end of an epoch, its numbers."""

    epoch: int
    step: int
    epochs: int
    steps: int
    numbers: Mapping[str, float]


Report = Callable[[Progress], None]


class Drawn(Protocol):
    """What a picture comes with beside its pixels, for one objective."""

    def draw(self, row: int, view: View, rng: np.random.Generator) -> Mapping[str, npt.NDArray[Any]]:
        """Arrays of one picture."""


@dataclass(frozen=True)
class Pictures:
    """Batches of one data set for one objective.

    Attributes:
        crops: the cache. drawn: what comes with a picture. recipe: how pictures are varied. seed: of all draws.
    """

    crops: Crops
    drawn: Drawn
    recipe: PretrainRecipe
    seed: int

    def varied(self, epoch: int, rows: Index) -> Batch:
        """A training batch: `pixels` (B, 3, S, S) uint8 and what comes with them."""
        return self._batch(rows, lambda row: np.random.default_rng([self.seed, epoch, row]), varied=True)

    def plain(self, rows: Index) -> Batch:
        """The same of unvaried pictures; masks are always the same."""
        return self._batch(rows, lambda row: np.random.default_rng([row]), varied=False)

    def _batch(self, rows: Index, generator: Callable[[int], np.random.Generator], varied: bool) -> Batch:
        pixels = np.empty((len(rows), self.crops.size, self.crops.size, 3), np.uint8)
        extras: list[Mapping[str, npt.NDArray[Any]]] = []
        for place, row in enumerate(rows.tolist()):
            rng = generator(row)
            view = self.crops.varied(row, self.recipe.augmentation, rng) if varied else self.crops.plain(row)
            pixels[place] = view.pixels
            extras.append(self.drawn.draw(row, view, rng))
        stacked = {name: torch.from_numpy(np.stack([extra[name] for extra in extras])) for name in extras[0]}
        return {"pixels": torch.from_numpy(pixels).permute(0, 3, 1, 2), **stacked}


def pretrain(
    data: Path,
    out: Path,
    recipe: PretrainRecipe,
    options: Options = Options(),
    *,
    resume: bool = False,
    start: str | Path | None = None,
    report: Report | None = None,
) -> ViT:
    """Pre-train; on a CPU the same seed gives the same weights, whether or not the run was stopped in between.

    Args:
        data: folder with manifest.parquet (or the manifest), or folder of crops.
        out: folder of the run; made if needed.
        recipe: how to train.
        options: seed, threads, devices, cache.
        resume: go on after the last finished epoch of `out`, if there is one.
        start: backbone to start from, a name or a file (`openau.models.backbones.load_backbone`), of the recipe's width, depth, heads and
            patch; positions are interpolated to its size.
        report: told about every step.

    Returns:
        The ViT as it is in RUN/backbone.safetensors.

    Raises:
        InputError: there are no pictures, or they lack what the objective needs.
        UsageError: the folder holds a run and `resume` is off, the run to go on with was another one, or batches cannot be shared out.
        WeightsError: the backbone to start from cannot be read.
        OutputError: the folder cannot be written.
    """
    if recipe.batch % options.devices:
        raise UsageError(f"batches of {recipe.batch} pictures cannot be shared by {options.devices} devices")
    torch.set_num_threads(options.threads)
    make_folder(out, parents=True)
    faces = Faces.of(data)
    before = _before(out, recipe, options, faces, resume)
    torch.manual_seed(options.seed)
    drawn, learner = _objective(_vit(recipe, start, before), faces, recipe)
    crops = prepare_crops(faces, out, recipe, options, report)
    rows, watched = split(crops, recipe)
    if len(rows) < recipe.batch:
        raise InputError(
            f"{faces.source}: {len(rows)} pictures are left to train on, at least a batch of {recipe.batch} is needed"
        )
    fabric = _fabric(recipe, options)
    if fabric.is_global_zero:
        _describe(out, recipe, options, faces, crops, rows, watched, start)
    run = _Run(fabric, learner, Pictures(crops, drawn, recipe, options.seed), rows, watched, recipe, options, before)
    for epoch in range(run.epoch, recipe.epochs):
        numbers = run.train(epoch, report)
        if fabric.is_global_zero:
            _save(out, run, faces, options)
        if report is not None and fabric.is_global_zero:
            report(Progress(epoch + 1, run.steps, recipe.epochs, run.steps, numbers))
        fabric.barrier()
    return run.exported().cpu().eval()


def _fabric(recipe: PretrainRecipe, options: Options) -> Fabric:
    """Lightning's processes and precision; with several devices each starts this same command again."""
    with _quiet():
        try:
            fabric = Fabric(
                accelerator=options.device, devices=options.devices, strategy="ddp" if options.devices > 1 else "auto",
                precision="32-true" if recipe.precision == "32" else recipe.precision,
            )  # fmt: skip
        except (MisconfigurationException, RuntimeError) as error:
            raise UsageError(f"the device {options.device!r} cannot be used on this machine: {error}") from None
        fabric.launch()
    return fabric


def prepare_crops(faces: Faces, out: Path, recipe: PretrainRecipe, options: Options, report: Report | None) -> Crops:
    """The run's crop cache, made if needed."""
    done = 0
    total = len(faces.names)

    def count(steps: int) -> None:
        nonlocal done
        done += steps
        if report is not None:
            report(Progress(0, done, recipe.epochs, total, {}))

    return build_crops(faces, options.cache or out / CACHE, recipe.vit.size, options.workers, count)


def split(crops: Crops, recipe: PretrainRecipe) -> tuple[Index, Index]:
    """Rows to train on and rows to watch, of different people where a manifest names them."""
    usable = np.flatnonzero(crops.usable)
    if crops.faces.rows is None:
        who = np.arange(len(crops.usable)).astype(np.str_)
    else:
        from openau.datasets.people import identities

        who = identities(crops.faces.rows)
    people = np.random.default_rng(7).permutation(np.unique(who[usable]))
    kept = people[: round(recipe.watched * len(people))]
    away = np.isin(who[usable], kept)
    watched = np.random.default_rng(8).permutation(usable[away])[:WATCHED]
    return usable[~away], np.sort(watched)


def learning_rate(recipe: PretrainRecipe, step: int, steps: int) -> float:
    """A line up over the first `warm_up` of the steps, then half a cosine down to zero."""
    warm = max(1, round(recipe.warm_up * steps))
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


class _Run:
    """A run between its start and its end: what changes from step to step."""

    def __init__(
        self, fabric: Fabric, learner: MaskedAutoencoder | FaceReader, pictures: Pictures, rows: Index, watched: Index,
        recipe: PretrainRecipe, options: Options, before: PretrainState | None,
    ) -> None:  # fmt: skip
        self.fabric, self.learner, self.recipe, self.pictures = fabric, learner, recipe, pictures
        self._rows, self._watched, self._options = rows, watched, options
        self.steps = len(rows) // recipe.batch
        self.epoch = 0
        self.table: list[dict[str, str]] = []
        if before is not None:
            learner.load_state_dict(before.learner)
            self.epoch, self.table = int(before.facts["epoch"]), list(before.facts["metrics"])
        learner.to(fabric.device)
        self.optimizer = torch.optim.AdamW(
            _groups(learner, recipe), recipe.learning_rate, betas=(0.9, recipe.beta), fused=True
        )
        if before is not None:
            restore_optimizer(learner, self.optimizer, before.optimizer)
        self._module, self._optimizer = fabric.setup(learner, self.optimizer)
        self.average: dict[str, Tensor] = {}
        if recipe.ema:
            source = learner.vit.state_dict() if before is None else before.average
            self.average = {name: tensor.detach().clone().to(fabric.device) for name, tensor in source.items()}

    def train(self, epoch: int, report: Report | None) -> dict[str, float]:
        """One epoch; returns its numbers."""
        recipe, fabric = self.recipe, self.fabric
        self.learner.train()
        sums: dict[str, Tensor] = {}
        started = time.monotonic()
        for step, batch in enumerate(self._batches(epoch)):
            rate = learning_rate(recipe, epoch * self.steps + step, recipe.epochs * self.steps)
            for group in self.optimizer.param_groups:
                group["lr"] = rate
            losses = self._module(batch)
            self._optimizer.zero_grad()
            fabric.backward(losses["loss"])
            fabric.clip_gradients(self._module, self._optimizer, max_norm=recipe.clip, error_if_nonfinite=False)
            self._optimizer.step()
            if recipe.ema:
                self._follow()
            for name, loss in losses.items():
                sums[name] = sums.get(name, torch.zeros((), device=fabric.device)) + loss.detach().float()
            if report is not None and fabric.is_global_zero and step + 1 < self.steps:
                report(Progress(epoch + 1, step + 1, recipe.epochs, self.steps, {}))
        seconds = time.monotonic() - started
        numbers = {name: self._mean(total / self.steps) for name, total in sums.items()}
        numbers |= {f"watched_{name}": value for name, value in self._judge().items()}
        numbers |= {"seconds": time.monotonic() - started, "images_per_second": self.steps * recipe.batch / seconds}
        self.epoch = epoch + 1
        self.table.append({"epoch": str(epoch + 1)} | {name: f"{value:.6g}" for name, value in numbers.items()})
        return numbers

    @property
    def trained(self) -> int:
        """How many pictures are trained on."""
        return len(self._rows)

    def exported(self) -> ViT:
        """The ViT as it is kept: the moving average, if there is one."""
        if not self.average:
            return self.learner.vit
        vit = ViT(self.learner.vit.config)
        vit.load_state_dict({name: tensor.cpu() for name, tensor in self.average.items()})
        return vit

    def _batches(self, epoch: int) -> Iterator[Batch]:
        """This process's shares of the epoch's batches, made in threads a little ahead."""
        order = np.random.default_rng([self._options.seed, epoch]).permutation(self._rows)
        size, rank, world = self.recipe.batch, self.fabric.global_rank, self.fabric.world_size
        share = size // world
        parts = [order[step * size + rank * share : step * size + (rank + 1) * share] for step in range(self.steps)]
        for batch in _ahead(lambda rows: self.pictures.varied(epoch, rows), parts, self._options.loaders):
            yield self._placed(batch)

    def _judge(self) -> dict[str, float]:
        """Mean losses of the pictures kept away, the same in every process."""
        if not len(self._watched):
            return {}
        self.learner.eval()
        world = self.fabric.world_size
        mine = self._watched[self.fabric.global_rank :: world]
        totals: dict[str, Tensor] = {}
        count = torch.zeros((), device=self.fabric.device)
        with torch.no_grad():
            for start in range(0, len(mine), self.recipe.batch):
                rows = mine[start : start + self.recipe.batch]
                with self.fabric.autocast():
                    losses = self.learner(self._placed(self.pictures.plain(rows)))
                for name, loss in losses.items():
                    totals[name] = totals.get(name, torch.zeros_like(count)) + loss.float() * len(rows)
                count += len(rows)
        everybody = self._mean(count)
        return {name: self._mean(total) / everybody for name, total in totals.items()}

    def _placed(self, batch: Batch) -> Batch:
        return {name: tensor.to(self.fabric.device, non_blocking=True) for name, tensor in batch.items()}

    def _mean(self, value: Tensor) -> float:
        """Over the processes."""
        return float(self.fabric.all_reduce(value, reduce_op="mean"))  # type: ignore[arg-type]

    @torch.no_grad()
    def _follow(self) -> None:
        for name, tensor in self.learner.vit.state_dict().items():
            self.average[name].lerp_(tensor, 1 - self.recipe.ema)


def _ahead(make: Callable[[Index], Batch], parts: Sequence[Index], threads: int) -> Iterator[Batch]:
    """Batches in order, made in threads."""
    with ThreadPoolExecutor(threads) as pool:
        pending: list[Any] = []
        for part in parts:
            pending.append(pool.submit(make, part))
            if len(pending) > threads:
                yield pending.pop(0).result()
        for waiting in pending:
            yield waiting.result()


def _vit(recipe: PretrainRecipe, start: str | Path | None, before: PretrainState | None) -> ViT:
    """The network to train: one that `before` fits, one that was trained before, or a new one."""
    if before is not None:
        return ViT(before.config)
    return ViT(recipe.vit) if start is None else load_backbone(recipe.vit, start).vit


def _objective(vit: ViT, faces: Faces, recipe: PretrainRecipe) -> tuple[Drawn, MaskedAutoencoder | FaceReader]:
    """What comes with pictures, and what learns from them."""
    if recipe.objective == "mae":
        return MaskedPatches(vit.config, recipe.mask), MaskedAutoencoder(vit, recipe)
    targets = FaceTargets(faces, vit.config.size, recipe)
    return targets, FaceReader(vit, targets.counts, recipe)


def _groups(learner: nn.Module, recipe: PretrainRecipe) -> list[dict[str, Any]]:
    """Parameters with and without weight decay: only matrices of layers have it."""
    tokens = ("cls_token", "reg_token", "pos_embed", "mask_token")
    decayed = {name: parameter.ndim > 1 and not name.endswith(tokens) for name, parameter in learner.named_parameters()}
    named = dict(learner.named_parameters())
    return [
        {
            "params": [named[name] for name in named if decayed[name] is wanted],
            "weight_decay": recipe.weight_decay * wanted,
        }
        for wanted in (True, False)
    ]


def _before(out: Path, recipe: PretrainRecipe, options: Options, faces: Faces, resume: bool) -> PretrainState | None:
    path = out / LAST
    if not path.exists():
        return None
    if not resume:
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or choose another folder")
    before = load_state(path)
    if before.facts.get("identity") != _identity(recipe, options, faces):
        raise UsageError(
            f"{path}: belongs to a run with another recipe, seed or data; choose another folder or do not resume"
        )
    return before


def _identity(recipe: PretrainRecipe, options: Options, faces: Faces) -> dict[str, Any]:
    """What two runs must share for one to go on with the other, as JSON gives it back."""
    identity = {"recipe": recipe.to_json(), "seed": options.seed, "pictures": faces.fingerprint()}
    return dict(json.loads(json.dumps(identity)))


def _save(out: Path, run: _Run, faces: Faces, options: Options) -> None:
    facts = {"identity": _identity(run.recipe, options, faces), "epoch": run.epoch, "metrics": run.table}
    learner = run.learner
    save_state(
        out / LAST,
        PretrainState(
            learner.vit.config, facts, learner.state_dict(), optimizer_state(learner, run.optimizer), run.average
        ),
    )
    save_backbone(out / BACKBONE, run.exported(), _facts(run, faces, options))
    write_metrics(out / METRICS, run.table)


def _facts(run: _Run, faces: Faces, options: Options) -> dict[str, str]:
    """How a backbone came about, for its header and its card."""
    recipe = run.recipe
    aligned = faces.rows is not None
    return {
        "template": "face224" if aligned else "none",
        "trained_on": f"{run.trained:,} pictures of faces ({faces.root.name}), {recipe.vit.size} px",
        "recipe": f"openau pretrain, objective {recipe.objective}, {run.epoch} of {recipe.epochs} epochs, batch {recipe.batch}, "
        f"learning rate {recipe.learning_rate:g}, seed {options.seed}",
    }


def _describe(
    out: Path, recipe: PretrainRecipe, options: Options, faces: Faces, crops: Crops, rows: Index, watched: Index, start: str | Path | None
) -> None:  # fmt: skip
    path = out / ENVIRONMENT
    starts = json.loads(path.read_text(encoding="utf-8"))["starts"] if path.is_file() else []
    document = {
        "options": {"seed": options.seed, "threads": options.threads, "loaders": options.loaders, "device": options.device,
                    "devices": options.devices, **({} if start is None else {"start": Path(start).name})},
        "data": {"source": str(faces.source), "fingerprint": faces.fingerprint(), "trained": len(rows), "watched": len(watched),
                 "unreadable": [faces.names[row] for row in crops.unreadable.tolist()]},
        "starts": [*starts, start_facts()],
    }  # fmt: skip
    for file, content in ((out / CONFIG, recipe.to_json()), (path, document)):
        with whole_file(file) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Lightning's banners to itself."""
    talkative = [logging.getLogger(name) for name in ("lightning.fabric", "lightning.fabric.utilities.rank_zero")]
    levels = [logger.level for logger in talkative]
    for logger in talkative:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(talkative, levels, strict=True):
            logger.setLevel(level)
