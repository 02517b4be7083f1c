"""Train a FAN on pictures with known landmarks.

RUN/config.json        the recipe
RUN/environment.json   data, who was trained on and who was held out, options; and for every start of the run: command, versions, machine
RUN/metrics.csv        loss and error of held-out people, a round per row
RUN/last.safetensors   weights and optimiser of the last finished round

The last weights are the result: nothing is chosen by looking at the held-out people, whose error is only written down.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from openau.errors import UsageError
from openau.faces.align import FAN_SIZE, apply, warp
from openau.faces.fan import decode
from openau.models.fan import FAN, SIDE
from openau.outputs import make_folder, whole_file
from openau.training.fan.checkpoint import FANCheckpoint, load_fan, optimizer_state, restore_optimizer, save_fan
from openau.training.fan.pictures import Batch, Floats, LandmarkPictures, batches, region
from openau.training.fan.recipe import FANRecipe
from openau.training.record import METRICS, start_facts, write_metrics
from openau.training.splits import HoldOut, Index, split_rows

CONFIG, ENVIRONMENT, LAST = "config.json", "environment.json", "last.safetensors"
WATCHED = 256
"""Held-out pictures whose error is written down after every round."""

Report = Callable[[int, int, Mapping[str, float]], None]
"""Told about every step: step (from 1), steps in all, and, at the end of a round, its numbers."""


@dataclass(frozen=True, slots=True)
class Options:
    """What a run is given beside its recipe.

    Attributes:
        hold_out: people kept away. seed: of weights, batches and noise; the people are drawn with `split_seed`.
        threads: of the network. loaders: threads that make batches.
        device: PyTorch's name of one.
    """

    hold_out: HoldOut
    seed: int = 0
    split_seed: int = 0
    threads: int = 1
    loaders: int = 1
    device: str = "cpu"


def train_fan(
    data: Path, out: Path, recipe: FANRecipe, options: Options, resume: bool = False, report: Report | None = None
) -> FAN:
    """Train; on a CPU the same seed gives the same weights, whether or not the run was stopped in between.

    Args:
        data: folder with manifest.parquet, pictures and landmarks.
        out: folder of the run; made if needed.
        recipe: how to train.
        options: who is held out, seeds, threads, device.
        resume: go on after the last finished round of `out`, if there is one; `recipe.images` may be another number then, and the learning
            rate falls accordingly.
        report: told about every step.

    Raises:
        InputError: there is too little to train on, or a picture cannot be read.
        UsageError: the folder holds a run and `resume` is off, or the run to go on with was another one.
        OutputError: the folder cannot be written.
    """
    torch.set_num_threads(options.threads)
    pictures = LandmarkPictures(data)
    split = split_rows(pictures.rows, options.hold_out, 0, options.split_seed, pictures.usable)
    make_folder(out, parents=True)
    before = _before(out, recipe, options, resume)
    _describe(out, recipe, options, pictures, split.train, split.test)
    torch.manual_seed(options.seed)
    fan = FAN(recipe.model) if before is None else before.fan
    fan.to(options.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.AdamW(fan.parameters(), recipe.learning_rate, weight_decay=recipe.weight_decay)
    rows: list[dict[str, str]] = []
    done = 0
    if before is not None:
        restore_optimizer(fan, optimizer, before.optimizer)
        rows, done = list(before.facts["metrics"]), int(before.facts["steps"])
    watched = _watched(pictures, split.test, options.split_seed)
    drawing = batches(pictures, split.train, recipe, options.seed, range(done, recipe.steps), options.loaders)
    losses: list[float] = []
    started = time.monotonic()
    for step, batch in enumerate(drawing, start=done):
        losses.append(_step(fan, optimizer, batch, recipe, step, options.device))
        numbers: dict[str, float] = {}
        if (step + 1) % recipe.round_steps == 0 or step + 1 == recipe.steps:
            error = nme_of(fan, pictures, watched, recipe.template, options.device)
            numbers = {"loss": float(np.mean(losses)), "nme": error, "seconds": time.monotonic() - started}
            seen = {"round": str(len(rows) + 1), "images": str((step + 1) * recipe.batch)}
            rows.append(seen | {name: f"{value:.6g}" for name, value in numbers.items()})
            _save(out, fan, optimizer, recipe, options, rows, step + 1)
            losses, started = [], time.monotonic()
        if report is not None:
            report(step + 1, recipe.steps, numbers)
    fan.cpu().eval()
    return fan


def heatmap_loss(drawn: Tensor, landmarks: Tensor, sigma: float, peak_weight: float) -> Tensor:
    """Weighted squared difference to a Gaussian per landmark; landmarks outside of the picture are not judged.

        L = mean over landmarks of Σ_cells (1 + peak_weight · g) (h − g)² / (2 π σ²),   g = exp(−‖cell − landmark‖² / 2σ²)

    Args:
        drawn: heatmaps h (B, K, H, W).
        landmarks: (B, K, 2) in cells, cell centres at +0.5.
        sigma: of the Gaussians, cells.
        peak_weight: how much more an error counts at the peak.
    """
    rows, columns = drawn.shape[2:]
    across = torch.exp(
        -((torch.arange(columns, device=drawn.device) + 0.5 - landmarks[..., 0:1]) ** 2) / (2 * sigma**2)
    )
    down = torch.exp(-((torch.arange(rows, device=drawn.device) + 0.5 - landmarks[..., 1:2]) ** 2) / (2 * sigma**2))
    wanted = down[..., :, None] * across[..., None, :]
    size = torch.tensor((columns, rows), device=drawn.device)
    inside = ((landmarks >= 0) & (landmarks < size)).all(dim=-1)
    errors = ((1 + peak_weight * wanted) * (drawn.float() - wanted) ** 2).sum(dim=(2, 3)) / (2 * math.pi * sigma**2)
    return (errors * inside).sum() / inside.sum().clamp_min(1)


def nme_of(fan: FAN, pictures: LandmarkPictures, rows: Index, template: str, device: str = "cpu") -> float:
    """Mean error of landmarks in plain crops, in distances between the outer eye corners; NaN without rows."""
    fan.eval()
    errors = []
    for start in range(0, len(rows), 16):
        crops, truth = [], []
        for row in rows[start : start + 16]:
            image, landmarks = pictures.picture(int(row))
            matrix = region(landmarks, template)
            crops.append(warp(image, matrix, FAN_SIZE))
            truth.append(apply(matrix, landmarks))
        with torch.no_grad():
            heatmaps = fan(_pixels(np.stack(crops), device)).heatmaps[-1].float().cpu().numpy()
        errors.append(normalised_error(decode(heatmaps, FAN_SIZE)[0], np.stack(truth)))
    return float(np.concatenate(errors).mean()) if errors else math.nan


def normalised_error(found: Floats, truth: Floats) -> npt.NDArray[np.float64]:
    """(N,) mean distance of landmarks (N, 68, 2), in distances between the outer eye corners of the truth."""
    between = np.linalg.norm(truth[:, 36] - truth[:, 45], axis=-1)
    return np.asarray(np.linalg.norm(found - truth, axis=-1).mean(axis=-1) / np.maximum(between, 1e-6), np.float64)


def _step(fan: FAN, optimizer: torch.optim.Optimizer, batch: Batch, recipe: FANRecipe, step: int, device: str) -> float:
    """One step of the optimiser; returns the loss, the sum of all stacks'."""
    fan.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate(recipe, step)
    cells = torch.from_numpy(batch.landmarks).to(device) * (SIDE / FAN_SIZE)
    with torch.autocast(torch.device(device).type, torch.bfloat16, enabled=recipe.precision == "bf16"):
        output = fan(_pixels(batch.images, device))
    losses = [heatmap_loss(drawn, cells, recipe.sigma, recipe.peak_weight) for drawn in output.heatmaps]
    loss = torch.stack(losses).sum()
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    torch.nn.utils.clip_grad_norm_(fan.parameters(), 10.0)
    optimizer.step()
    return float(loss.detach())


def learning_rate(recipe: FANRecipe, step: int) -> float:
    """A line up over the first twentieth of the steps, then half a cosine down to zero."""
    warm = max(1, recipe.steps // 20)
    if step < warm:
        return recipe.learning_rate * (step + 1) / warm
    return recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, recipe.steps - warm)))


def _pixels(images: Any, device: str) -> Tensor:
    """(B, 256, 256, 3) uint8 as (B, 3, 256, 256) in [0, 1], channels last in memory."""
    return torch.from_numpy(images).to(device).permute(0, 3, 1, 2).float() / 255


def _watched(pictures: LandmarkPictures, held_out: Index, seed: int) -> Index:
    order = np.random.default_rng([seed, 3]).permutation(len(held_out))
    return np.sort(held_out[order[:WATCHED]])


def _before(out: Path, recipe: FANRecipe, options: Options, resume: bool) -> FANCheckpoint | None:
    path = out / LAST
    if not path.exists():
        return None
    if not resume:
        raise UsageError(f"{out}: holds a run already; go on with it by --resume, or choose another folder")
    before = load_fan(path)
    if before.facts.get("identity") != _identity(recipe, options):
        raise UsageError(
            f"{path}: belongs to a run with another recipe or seed; choose another folder or do not resume"
        )
    return before


def _identity(recipe: FANRecipe, options: Options) -> dict[str, Any]:
    """What two runs must share for one to go on with the other: all but how long they go on."""
    chosen = {"hold_out": str(options.hold_out), "seed": options.seed, "split_seed": options.split_seed}
    return {"recipe": {**recipe.to_json(), "images": None}, **chosen}


def _save(
    out: Path, fan: FAN, optimizer: torch.optim.Optimizer, recipe: FANRecipe, options: Options,
    rows: list[dict[str, str]], steps: int,
) -> None:  # fmt: skip
    facts = {
        "images": recipe.images,
        "identity": _identity(recipe, options),
        "metrics": rows,
        "steps": steps,
        "template": recipe.template,
    }
    save_fan(out / LAST, FANCheckpoint(fan, facts, optimizer_state(fan, optimizer)))
    write_metrics(out / METRICS, rows)


def _describe(
    out: Path, recipe: FANRecipe, options: Options, pictures: LandmarkPictures, train: Index, test: Index
) -> None:
    path = out / ENVIRONMENT
    starts = json.loads(path.read_text())["starts"] if path.is_file() else []
    document = {
        "options": {"hold_out": str(options.hold_out), "seed": options.seed, "split_seed": options.split_seed,
                    "threads": options.threads, "loaders": options.loaders, "device": options.device},
        "data": str(pictures.manifest),
        "parts": {name: {"faces": len(rows), "subjects": np.unique(pictures.subjects[rows]).tolist()}
                  for name, rows in (("train", train), ("held out", test))},
        "starts": [*starts, {**start_facts(), "images": recipe.images}],
    }  # fmt: skip
    for file, content in ((out / CONFIG, recipe.to_json()), (path, document)):
        with whole_file(file) as scratch:
            scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
