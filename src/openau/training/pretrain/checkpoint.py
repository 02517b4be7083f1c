"""A pre-training run as safetensors: everything it needs to go on, and nothing that unpickles.

Tensors are `learner.<parameter>`, `optimizer.<parameter>.<state>` and `average.<parameter of the ViT>`; the header says how it came about.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from openau.errors import InputError
from openau.models.vit import ViTConfig
from openau.outputs import whole_file

FORMAT = "openau.pretrain/1"
_LEARNER, _OPTIMIZER, _AVERAGE = "learner.", "optimizer.", "average."


@dataclass(frozen=True)
class PretrainState:
    """The ViT's configuration, facts (identity, epoch, numbers so far), weights, optimiser and moving average of a run."""

    config: ViTConfig
    facts: Mapping[str, Any]
    learner: Mapping[str, Tensor]
    optimizer: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)
    average: Mapping[str, Tensor] = field(default_factory=dict)


def save_state(path: Path, state: PretrainState) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {_LEARNER + name: tensor for name, tensor in state.learner.items()}
    tensors |= {_AVERAGE + name: tensor for name, tensor in state.average.items()}
    for parameter, states in state.optimizer.items():
        tensors |= {f"{_OPTIMIZER}{parameter}.{name}": tensor for name, tensor in states.items()}
    header = {"format": FORMAT, "config": state.config.to_json(), "facts": json.dumps(dict(state.facts))}
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with whole_file(path) as scratch:
        scratch.write_bytes(save(plain, header))


def load_state(path: Path) -> PretrainState:
    """Read a checkpoint.

    Raises:
        InputError: the file cannot be read, or is no checkpoint of a pre-training.
    """
    header, tensors = _read(path)
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: is no checkpoint of `openau pretrain`")
    try:
        config, facts = ViTConfig.from_json(header["config"]), json.loads(header["facts"])
    except (KeyError, ValueError, TypeError):
        raise InputError(f"{path}: is damaged; its header cannot be read") from None
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, key = name.removeprefix(_OPTIMIZER).rpartition(".")
            states.setdefault(parameter, {})[key] = tensor
    learner, average = (
        {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
        for prefix in (_LEARNER, _AVERAGE)
    )
    return PretrainState(config, facts, learner, states, average)


def optimizer_state(module: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state by parameter and name."""
    return {
        name: {key: value for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
        for name, parameter in module.named_parameters()
        if parameter in optimizer.state
    }


def restore_optimizer(
    module: nn.Module, optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Tensor]]
) -> None:
    """Inverse of `optimizer_state`."""
    for name, parameter in module.named_parameters():
        if name in states:
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in states[name].items()}


def _read(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    try:
        with safe_open(path, "pt") as file:
            return file.metadata() or {}, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {str(error).splitlines()[0]}") from None
