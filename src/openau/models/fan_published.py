"""Published FANs: which files there are, and their weights in our network.

The layouts of `face-alignment` and of ibug have the same names of layers as ours. What a file does not say is what its network pools with;
for files known by their SHA-256 it is written down here, for others one has to say.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from openau.models.fan import FAN, FANConfig, Pooling


@dataclass(frozen=True, slots=True)
class PublishedFAN:
    """A published file.

    Attributes:
        name: its name where it is published.
        pooling: of the code it was published with.
        licence: of that code (SPDX); none is stated for the weights alone.
        origin: who made it.
        trained_on: what the authors say.
    """

    name: str
    pooling: Pooling
    licence: str
    origin: str
    trained_on: str


_ORIGIN = "Adrian Bulat and Georgios Tzimiropoulos, 2017; face-alignment, https://github.com/1adrianb/face-alignment"
_TRAINED_ON = "300W-LP (about 61,000 pictures made of 300-W's), as the authors' paper (ICCV 2017) says"

PUBLISHED: Mapping[str, PublishedFAN] = MappingProxyType(
    {
        "cd938726adb1f15f361263cce2db9cb820c42585fa8796ec72ce19107f369a46": PublishedFAN(
            "2DFAN4-cd938726ad.zip", "avg", "BSD-3-Clause", _ORIGIN, _TRAINED_ON
        ),
        "11f355bf0693120222f5955ce3f9dc8fb5763ebb30a47d7906e509490d32e4aa": PublishedFAN(
            "2DFAN4-11f355bf06.pth.tar", "avg", "BSD-3-Clause", _ORIGIN, _TRAINED_ON
        ),
    }
)
"""SHA-256 → file [R: digests as several public repositories pin them, pooling as face-alignment's code of that time has it]."""

_COUNTED = "num_batches_tracked"


def from_published(tensors: Mapping[str, npt.NDArray[Any]], pooling: Pooling) -> FAN:
    """A FAN with published weights; its configuration is read off their shapes.

    Args:
        tensors: of `openau.weights.torch_archive.read_tensors`, or a state dict as arrays.
        pooling: of the network they are for.

    Raises:
        ValueError: the tensors are not those of such a network.
    """
    config = configuration_of(tensors, pooling)
    with torch.device("meta"):
        wanted = {name: tuple(tensor.shape) for name, tensor in FAN(config).state_dict().items()}
    # Files written before PyTorch 0.4.1 lack the norms' counters, which nothing reads in evaluation.
    missing = [name for name in wanted if name not in tensors and not name.endswith(_COUNTED)]
    unknown = [name for name in tensors if name not in wanted]
    if missing or unknown:
        what = f"lack {missing[0]}" if missing else f"hold {unknown[0]}, which no FAN has"
        raise ValueError(f"the weights {what}")
    wrong = [name for name in wanted if name in tensors and tuple(tensors[name].shape) != wanted[name]]
    if wrong:
        raise ValueError(f"{wrong[0]} has the shape {tuple(tensors[wrong[0]].shape)}, not {wanted[wrong[0]]}")
    fan = FAN(config)
    state = {
        name: _tensor(tensors[name], name) if name in tensors else torch.zeros((), dtype=torch.int64) for name in wanted
    }
    fan.load_state_dict(state)
    return fan.eval()


def configuration_of(tensors: Mapping[str, npt.NDArray[Any]], pooling: Pooling) -> FANConfig:
    """Stacks, widths, points and depth, as the shapes of a FAN's weights tell them.

    Raises:
        ValueError: they are not those of a FAN.
    """
    try:
        points, width = tensors["l0.weight"].shape[:2]
        stem = int(tensors["conv1.weight"].shape[0])
        depth = max(int(name[6:].split(".")[0]) for name in tensors if name.startswith("m0.b1_"))
        stacks = sum(bool(re.fullmatch(r"l\d+\.weight", name)) for name in tensors)
        return FANConfig(stacks, int(width), int(points), depth, pooling, stem)
    except (KeyError, ValueError, IndexError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"these are not the weights of a FAN: {reason}") from None


def _tensor(array: npt.NDArray[Any], name: str) -> torch.Tensor:
    """A copy in the type the network has."""
    if name.endswith(_COUNTED):
        return torch.tensor(int(array), dtype=torch.int64)
    values = np.array(array, np.float32)
    if not np.isfinite(values).all():
        raise ValueError(f"{name} holds numbers that are not finite")
    return torch.from_numpy(values)
