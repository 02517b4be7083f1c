"""FANs as safetensors: tensors and JSON, nothing that unpickles.

One file holds the weights under the names of the face-alignment layout, the configuration and how it came about (in the header), and, of a
run that can go on, the optimiser's state (`optimizer.<parameter>.<state>`).
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
from torch import Tensor

from openau.errors import InputError
from openau.models.fan import FAN, FANConfig
from openau.outputs import whole_file

FORMAT = "openau.fan/1"
_OPTIMIZER = "optimizer."


@dataclass(frozen=True)
class FANCheckpoint:
    """A FAN, how it came about, and, if it is to be trained on, the optimiser's state by parameter and name."""

    fan: FAN
    facts: Mapping[str, Any]
    optimizer: Mapping[str, Mapping[str, Tensor]] = field(default_factory=dict)


def save_fan(path: Path, checkpoint: FANCheckpoint) -> None:
    """Write a checkpoint, whole or not at all.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = dict(checkpoint.fan.state_dict())
    for parameter, states in checkpoint.optimizer.items():
        tensors |= {f"{_OPTIMIZER}{parameter}.{name}": tensor for name, tensor in states.items()}
    header = {
        "format": FORMAT,
        "config": json.dumps(checkpoint.fan.config.to_json()),
        "facts": json.dumps(dict(checkpoint.facts)),
    }
    with whole_file(path) as scratch:
        scratch.write_bytes(
            save({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}, header)
        )


def load_fan(path: Path) -> FANCheckpoint:
    """Read a checkpoint.

    Raises:
        InputError: the file cannot be read, or holds no FAN of ours.
    """
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no mapping)
    except FileNotFoundError:
        raise InputError(f"{path}: there is no such file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: cannot be read as safetensors: {str(error).splitlines()[0]}") from None
    if header.get("format") != FORMAT:
        raise InputError(f"{path}: holds no FAN of OpenAU's; `openau fan convert` makes one of a published checkpoint")
    try:
        fan = FAN(FANConfig.from_json(header["config"]))
        facts = json.loads(header["facts"])
        fan.load_state_dict({name: t for name, t in tensors.items() if not name.startswith(_OPTIMIZER)})
    except (KeyError, ValueError, TypeError, RuntimeError) as error:
        raise InputError(f"{path}: is damaged: {str(error).splitlines()[0]}") from None
    states: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        if name.startswith(_OPTIMIZER):
            parameter, _, state = name.removeprefix(_OPTIMIZER).rpartition(".")
            states.setdefault(parameter, {})[state] = tensor
    return FANCheckpoint(fan.eval(), facts, states)


def optimizer_state(fan: FAN, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """The optimiser's state by parameter and name."""
    return {
        name: {key: value for key, value in optimizer.state[parameter].items() if isinstance(value, Tensor)}
        for name, parameter in fan.named_parameters()
        if parameter in optimizer.state
    }


def restore_optimizer(fan: FAN, optimizer: torch.optim.Optimizer, states: Mapping[str, Mapping[str, Tensor]]) -> None:
    """Inverse of `optimizer_state`."""
    for name, parameter in fan.named_parameters():
        if name in states:
            optimizer.state[parameter] = dict(states[name])
