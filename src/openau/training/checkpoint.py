"""Checkpoints as safetensors: tensors and JSON, nothing that unpickles.

One file holds the model's weights (`model.…`; of a model on a frozen backbone those that learn, and the backbone's name and hash), its
configuration and how it came about (in the header), and, for resuming, the optimiser's state (`optimizer.<parameter>.<state>`), and, where
the model is not all that is trained (it is a moving average, or it has peers), everything that is (`training.…`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from openau.errors import InputError
from openau.models.au_vit import AUViT, AUViTConfig
from openau.models.create import create_again
from openau.models.fantrans import FANTrans, FANTransConfig, build
from openau.outputs import whole_file
from openau.training.picture_recipes import AnyRecipe, PictureRecipe
from openau.training.recipes import Recipe

BEST, LAST = "best.safetensors", "last.safetensors"
"""Names in a run's folder: the epoch that was chosen, and the last one, to resume from."""

FANTRANS_FORMAT, VIT_FORMAT = "openau.fantrans/2", "openau.au_vit/1"
_MODEL, _OPTIMIZER, _TRAINING = "model.", "optimizer.", "training."

TrainingSelection = Literal["validation", "test-selected"]
"""Who chooses the epoch: validation subjects of the training part, or the test part itself, as public code of the field often has it."""


@dataclass(frozen=True)
class Provenance:
    """How a checkpoint came about.

    Attributes:
        recipe: it was trained by.
        seed: of the run.
        epoch: finished epochs.
        score: validation score of this epoch (mean AUC), NaN without validation.
        data: name of the feature store or of the pictures' folder.
        split: name of the split ("subjects=0.2", "bp4d-3fold, test part 1"); "none" where nothing was kept away.
        trained: subjects the model was trained on.
        watched: validation subjects; good for calibration, not for results.
        selection: who chose the epoch: validation subjects, or the test part itself, which every table must say.
        best: best score of the run so far.
        best_epoch: its epoch, 0 before the first.
    """

    recipe: AnyRecipe
    seed: int
    epoch: int
    score: float
    data: str
    split: str
    trained: tuple[str, ...]
    watched: tuple[str, ...]
    selection: TrainingSelection = "validation"
    best: float = float("nan")
    best_epoch: int = 0


@dataclass(frozen=True)
class TrainingState:
    """What going on with a run needs beside the model.

    Attributes:
        optimizer: parameter → its state by name.
        weights: parameter → all weights that are trained, where the model's own are their moving average or one peer's; else empty.
        scaler: state of the loss's scale in 16-bit training; else empty.
    """

    optimizer: Mapping[str, Mapping[str, Tensor]]
    weights: Mapping[str, Tensor] = field(default_factory=dict)
    scaler: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Checkpoint:
    """A model, how it came about, and, if it was saved for resuming, the state of its training."""

    model: FANTrans | AUViT
    provenance: Provenance
    state: TrainingState | None = None


def save_checkpoint(
    path: Path, model: FANTrans | AUViT, provenance: Provenance, state: TrainingState | None = None
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: of the file.
        model: its weights are saved exactly, but for those of a frozen backbone, whose name and hash are.
        provenance: how it came about.
        state: to resume from.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {_MODEL + name: tensor for name, tensor in kept(model).items()}
    if state is not None:
        # Copies: the model may be one of the peers among them, and a file may hold a tensor once only.
        tensors |= {_TRAINING + name: tensor.clone() for name, tensor in state.weights.items()}
        for parameter, states in state.optimizer.items():
            tensors |= {f"{_OPTIMIZER}{parameter}.{name}": tensor for name, tensor in states.items()}
    facts = {
        "seed": provenance.seed, "epoch": provenance.epoch, "score": repr(provenance.score), "best": repr(provenance.best),
        "best_epoch": provenance.best_epoch, "data": provenance.data, "split": provenance.split, "selection": provenance.selection,
        "trained": list(provenance.trained), "watched": list(provenance.watched),
    }  # fmt: skip
    header = {
        "format": VIT_FORMAT if isinstance(model, AUViT) else FANTRANS_FORMAT,
        "config": model.config.to_json(), "recipe": provenance.recipe.to_json(), "provenance": json.dumps(facts),
    }  # fmt: skip
    if state is not None:
        header["scaler"] = json.dumps(dict(state.scaler))
    with whole_file(path) as scratch:
        scratch.write_bytes(
            save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, header)
        )


def kept(model: FANTrans | AUViT) -> Mapping[str, Tensor]:
    """The weights of a model that its checkpoint holds."""
    return model.kept() if isinstance(model, AUViT) else model.state_dict()


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; the model is in evaluation mode.

    Raises:
        InputError: the file is missing, cut short, or no checkpoint of this project; or the backbone it names is another one now.
        UsageError, WeightsError: the backbone it names cannot be had.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            if header.get("format") not in (FANTRANS_FORMAT, VIT_FORMAT):
                raise InputError(f"{path}: is not an OpenAU checkpoint ({FANTRANS_FORMAT} or {VIT_FORMAT})")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        weights = {name.removeprefix(_MODEL): t for name, t in tensors.items() if name.startswith(_MODEL)}
        state_of_torch = torch.random.get_rng_state()
        model = _built(header, weights)
        torch.random.set_rng_state(state_of_torch)
        provenance, state = _read_provenance(header), _read_state(header, tensors)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a checkpoint ({reason})") from None
    return Checkpoint(model.eval(), provenance, state)


def checkpoint_file(run: Path) -> Path:
    """The checkpoint that a folder of a run (its best epoch) or a file means."""
    return run / BEST if run.is_dir() else run


def checkpoint_format(path: Path) -> str:
    """Which kind of model a checkpoint is of: `FANTRANS_FORMAT` or `VIT_FORMAT`.

    Raises:
        InputError: the file is missing, damaged, or no checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            found = str((file.metadata() or {}).get("format", ""))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as a checkpoint ({error})") from None
    if found not in (FANTRANS_FORMAT, VIT_FORMAT):
        raise InputError(f"{path}: is not an OpenAU checkpoint ({FANTRANS_FORMAT} or {VIT_FORMAT})")
    return found


def load_fantrans(path: Path) -> tuple[FANTrans, Provenance]:
    """Read a checkpoint of a FAN-Trans.

    Raises:
        InputError: see `load_checkpoint`, or it is of another model.
    """
    found = load_checkpoint(path)
    if not isinstance(found.model, FANTrans):
        raise InputError(f"{path}: is a checkpoint of {found.model.config.method}, and a FAN-Trans is needed here")
    return found.model, found.provenance


def load_vit(path: Path) -> tuple[AUViT, Provenance]:
    """Read a checkpoint of a model that looks at pixels.

    Raises:
        InputError: see `load_checkpoint`, or it is of another model.
    """
    found = load_checkpoint(path)
    if not isinstance(found.model, AUViT):
        raise InputError(f"{path}: is a checkpoint of FAN-Trans, and a model that looks at pixels is needed here")
    return found.model, found.provenance


def _built(header: Mapping[str, str], weights: Mapping[str, Tensor]) -> FANTrans | AUViT:
    if header["format"] == VIT_FORMAT:
        model = create_again(AUViTConfig.from_json(header["config"]))
        model.load_kept(weights)
        return model
    fantrans = build(FANTransConfig.from_json(header["config"]))
    fantrans.load_state_dict(weights)
    return fantrans


def _read_provenance(header: Mapping[str, str]) -> Provenance:
    facts: dict[str, Any] = json.loads(header["provenance"])
    return Provenance(
        recipe=(PictureRecipe if header["format"] == VIT_FORMAT else Recipe).from_json(header["recipe"]),
        seed=int(facts["seed"]),
        epoch=int(facts["epoch"]),
        score=float(facts["score"]),
        best=float(facts["best"]),
        data=str(facts["data"]),
        split=str(facts["split"]),
        selection=facts["selection"],
        best_epoch=int(facts["best_epoch"]),
        trained=tuple(facts["trained"]),
        watched=tuple(facts["watched"]),
    )


def _read_state(header: Mapping[str, str], tensors: Mapping[str, Tensor]) -> TrainingState | None:
    if "scaler" not in header:
        return None
    optimizer: dict[str, dict[str, Tensor]] = {}
    weights: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, state = name.removeprefix(_OPTIMIZER).rpartition(".")
            optimizer.setdefault(parameter, {})[state] = tensor
        elif name.startswith(_TRAINING):
            weights[name.removeprefix(_TRAINING)] = tensor
    return TrainingState(optimizer, weights, json.loads(header["scaler"]))
