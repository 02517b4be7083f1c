"""What a run's folder tells about itself: its configuration, where and on whom it ran, its numbers, their curves.

RUN/config.yaml        the full recipe; `openau train … --recipe RUN/config.yaml` uses it again
RUN/environment.json   data and their hashes, who was in which part, options; and for every start of the run: command, versions, machine
RUN/metrics.csv        losses and scores, an epoch per row
RUN/curves.png         the same as curves, where Matplotlib is installed
RUN/tensorboard/       the same for TensorBoard
RUN/wandb/             the same for Weights & Biases, where asked for; nothing is sent
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import math
import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning.pytorch.loggers import Logger, TensorBoardLogger, WandbLogger

import openau
from openau.datasets.people import identities
from openau.errors import MissingExtraError
from openau.outputs import whole_file
from openau.training.configuration import to_yaml
from openau.training.joined import LabelledFaces, parts_of
from openau.training.picture_recipes import AnyRecipe
from openau.training.splits import Index, Split

CONFIG, ENVIRONMENT, METRICS, CURVES, EVENTS = (
    "config.yaml", "environment.json", "metrics.csv", "curves.png", "tensorboard",
)  # fmt: skip

_SCORES = ("auc", "best_f1")
_TAUGHT = "taught"
"""How the names of losses begin that peers teach each other (`openau.distill.peers.Lessons`)."""
_MEANING: Mapping[str, str] = {
    "ensemble": "occurrence, the teacher",
    "kept": "mean keep probability",
    "taught": "verdicts",
    "taught_intensity": "intensities",
    "taught_features": "which AUs are alike",
    "auc": "mean AUC",
    "best_f1": "mean best F1",
}


def describe(out: Path, recipe: AnyRecipe, store: LabelledFaces, split: Split, options: Mapping[str, Any]) -> None:
    """Write `config.yaml` and `environment.json`; a resumed run adds a start to the latter.

    Args:
        out: the run's folder.
        recipe: of the run.
        store: what it trains on.
        split: of its rows.
        options: of the run: seed, device, name of the split …

    Raises:
        OutputError: the folder cannot be written.
    """
    path = out / ENVIRONMENT
    starts = json.loads(path.read_text())["starts"] if path.is_file() else []
    who = identities(store.rows)
    parts = {"train": split.train, "validation": split.validation, "test": split.test}
    document = {
        "options": dict(options),
        "data": data_facts(store),
        "parts": {
            name: {"faces": len(rows), "subjects": np.unique(who[rows]).tolist()} for name, rows in parts.items()
        },
        "starts": [*starts, start_facts()],
    }
    with whole_file(out / CONFIG) as scratch:
        scratch.write_text(to_yaml(recipe), encoding="utf-8")
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")


def data_facts(store: LabelledFaces) -> list[dict[str, Any]]:
    """Of each part: its folder, what it was made from, and SHA-256 of stored rows and of the manifest, if that is still there."""
    return [
        {
            "store": str(part.folder),
            "meta": {key: value for key, value in part.meta.items() if key != "points"},
            "rows_sha256": _sha256(part.folder / "rows.parquet"),
            "manifest_sha256": [_sha256(file) for file in part.manifests],
        }
        for part in parts_of(store)
    ]


def start_facts() -> dict[str, Any]:
    """When, by which command, with which versions and on which machine a run was started."""
    return {
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": sys.argv,
        "openau": openau.__version__,
        "git": git_state(Path(openau.__file__).parent),
        "python": platform.python_version(),
        "packages": _packages(),
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "cpus": os.cpu_count(),
        "gpus": [torch.cuda.get_device_name(number) for number in range(torch.cuda.device_count())],
    }


def git_state(folder: Path) -> dict[str, Any] | None:
    """Commit of the checkout a folder is in, and whether tracked files were changed; None outside of one."""
    commands = (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(folder), *command], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
            for command in commands
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return None
    return {"commit": commit, "changed": bool(changes)}


def loggers(out: Path, wandb: bool) -> list[Logger]:
    """TensorBoard's, and Weights & Biases' in its offline mode if asked for; they write from the first process only.

    Raises:
        MissingExtraError: Weights & Biases is asked for and not installed.
    """
    found: list[Logger] = [TensorBoardLogger(out, name="", version=EVENTS, default_hp_metric=False)]
    if wandb:
        if find_spec("wandb") is None:
            raise MissingExtraError("--wandb needs wandb, which is not installed; run: pip install wandb")
        found.append(WandbLogger(name=out.name, project="openau", save_dir=out, offline=True))
    return found


def read_metrics(path: Path, epochs: int) -> list[dict[str, str]]:
    """Rows of the first `epochs` epochs; none if there is no file."""
    if not path.is_file():
        return []
    with path.open(newline="") as file:
        return [row for row in csv.DictReader(file) if int(row["epoch"]) <= epochs]


def write_metrics(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """Write the table, whole or not at all."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[-1]), extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    with whole_file(path) as scratch:
        scratch.write_text(text.getvalue())


def draw_curves(out: Path) -> None:
    """Draw `metrics.csv`: losses against the labels, what peers teach each other if there are any, and scores with the best epoch marked.

    What is taught is far smaller than the other losses, so it has a panel, and a logarithmic axis, of its own. Nothing is drawn where
    Matplotlib is not installed or no epoch is finished.
    """
    rows = read_metrics(out / METRICS, sys.maxsize)
    if not rows or find_spec("matplotlib") is None:
        return
    from matplotlib.figure import Figure

    names = [name for name in rows[-1] if name not in ("epoch", "seconds")]
    epochs = [int(row["epoch"]) for row in rows]
    values = {name: [float(row.get(name) or math.nan) for row in rows] for name in names}
    panels = [
        ("loss against the labels", [name for name in names if name not in _SCORES and not name.startswith(_TAUGHT)]),
        ("what peers teach each other", [name for name in names if name.startswith(_TAUGHT)]),
        ("score of those who choose the epoch", [name for name in names if name in _SCORES]),
    ]
    panels = [(title, chosen) for title, chosen in panels if chosen]
    figure = Figure(figsize=(5 * len(panels), 4), layout="constrained")
    for axes, (title, chosen) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        for name in chosen:
            axes.plot(epochs, values[name], marker=".", label=_MEANING.get(name, name.replace("_", " ")))
        if chosen[0].startswith(_TAUGHT) and any(value > 0 for name in chosen for value in values[name]):
            axes.set_yscale("log")
        if chosen[0] in _SCORES and (best := _best(values.get("auc", []))) is not None:
            axes.axvline(epochs[best], color="#888888", linestyle="--", linewidth=1, label=f"best AUC, epoch {epochs[best]}")  # fmt: skip
        axes.set(xlabel="epoch", title=title)
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=9)
    with whole_file(out / CURVES) as scratch:
        figure.savefig(scratch, dpi=120)


def _best(scores: Sequence[float]) -> int | None:
    """Position of the first of the highest scores; None without any."""
    known = [score for score in scores if not math.isnan(score)]
    return scores.index(max(known)) if known else None


def names_of(store: LabelledFaces, rows: Index) -> tuple[str, ...]:
    """Whom some rows show, in order of their names."""
    return tuple(np.unique(identities(store.rows)[rows]).tolist())


def _packages() -> dict[str, str]:
    """Versions of what OpenAU builds on, as far as it is installed."""
    found = {}
    for requirement in metadata.requires("openau") or ():
        match = re.match(r"[A-Za-z0-9._-]+", requirement)
        if match and match[0] != "openau":
            try:
                found[match[0]] = metadata.version(match[0])
            except metadata.PackageNotFoundError:
                continue
    return dict(sorted(found.items()))


def _sha256(path: Path) -> str | None:
    if not path.is_file():
        return None
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
