"""Checkpoints as safetensors: tensors and JSON, nothing that unpickles.

One file holds the model's weights (`model.…`), its configuration and how it came about (in the header), and, for resuming, the
optimiser's state (`optimizer.<parameter>.<state>`).
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
from openau.models.fantrans import FANTrans, FANTransConfig, build
from openau.outputs import whole_file
from openau.training.recipes import Recipe

FORMAT = "openau.fantrans/2"
_MODEL, _OPTIMIZER = "model.", "optimizer."

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
        data: name of the feature store.
        split: name of the split ("subjects=0.2", "bp4d-3fold, test part 1"); "none" where nothing was kept away.
        trained: subjects the model was trained on.
        watched: validation subjects; good for calibration, not for results.
        selection: who chose the epoch: validation subjects, or the test part itself, which every table must say.
        best: best score of the run so far.
        best_epoch: its epoch, 0 before the first.
    """

    recipe: Recipe
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
class Checkpoint:
    """A model, how it came about, and the optimiser's state by parameter (empty unless it was saved for resuming)."""

    model: FANTrans
    provenance: Provenance
    optimizer: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def save_checkpoint(
    path: Path, model: FANTrans, provenance: Provenance, optimizer: Mapping[str, Mapping[str, Tensor]] | None = None
) -> None:
    """Write a checkpoint, whole or not at all.

    Args:
        path: of the file.
        model: its weights are saved exactly.
        provenance: how it came about.
        optimizer: state tensors by parameter name, to resume from.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {_MODEL + name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    for parameter, states in (optimizer or {}).items():
        tensors |= {
            f"{_OPTIMIZER}{parameter}.{state}": tensor.detach().cpu().contiguous() for state, tensor in states.items()
        }
    facts = {
        "seed": provenance.seed, "epoch": provenance.epoch, "score": repr(provenance.score), "best": repr(provenance.best),
        "best_epoch": provenance.best_epoch, "data": provenance.data, "split": provenance.split, "selection": provenance.selection,
        "trained": list(provenance.trained), "watched": list(provenance.watched),
    }  # fmt: skip
    header = {
        "format": FORMAT, "config": model.config.to_json(), "recipe": provenance.recipe.to_json(), "provenance": json.dumps(facts),
    }  # fmt: skip
    with whole_file(path) as scratch:
        scratch.write_bytes(save(tensors, header))


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint; the model is in evaluation mode.

    Raises:
        InputError: the file is missing, cut short, or no checkpoint of this project.
    """
    if not path.is_file():
        raise InputError(f"{path}: no such checkpoint")
    try:
        with safe_open(path, framework="pt") as file:
            header: dict[str, str] = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise InputError(f"{path}: is not an OpenAU checkpoint ({FORMAT})")
            tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        state_of_torch = torch.random.get_rng_state()
        model = build(FANTransConfig.from_json(header["config"]))
        torch.random.set_rng_state(state_of_torch)
        model.load_state_dict({name.removeprefix(_MODEL): t for name, t in tensors.items() if name.startswith(_MODEL)})
        provenance = _read_provenance(header)
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path}: cannot be read as a checkpoint ({reason})") from None
    return Checkpoint(model.eval(), provenance, _optimizer_state(tensors))


def _read_provenance(header: Mapping[str, str]) -> Provenance:
    facts: dict[str, Any] = json.loads(header["provenance"])
    return Provenance(
        recipe=Recipe.from_json(header["recipe"]),
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


def _optimizer_state(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, state = name.removeprefix(_OPTIMIZER).rpartition(".")
            states.setdefault(parameter, {})[state] = tensor
    return states
