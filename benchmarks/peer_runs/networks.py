"""Building and timing a peer's networks without all that its program needs: for the runs of the torch peers, in their environment."""

from __future__ import annotations

import importlib
import importlib.util
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from types import ModuleType

import torch
from torch import nn

WARM_UP = 2
"""Calls that are not counted: the first one chooses kernels and allocates."""

Forward = Callable[[torch.Tensor], object]


@dataclass(frozen=True)
class Part:
    """One network of a peer.

    Attributes:
        name: what it is and what for.
        shape: of its input, batch first.
        build: makes it, with random weights, ready to judge.
        calls: how often the peer's program runs it for a frame with one face.
        needed: whether Action Units need it; what the program runs besides is timed and not summed.
        note: what a reader must know, one phrase.
    """

    name: str
    shape: tuple[int, ...]
    build: Callable[[], Forward]
    calls: int = 1
    needed: bool = True
    note: str = ""


def report(packages: Sequence[str], parts: Sequence[Part]) -> None:
    """Time every part with every number of threads the caller asks for, and print one line of JSON.

    The first argument of the program is JSON: `threads`, `calls`.
    """
    asked = json.loads(sys.argv[1])
    rows = [_time_part(part, asked["threads"], asked["calls"]) for part in parts]
    print(json.dumps({"versions": {name: version(name) for name in packages}, "parts": rows}))


def _time_part(part: Part, threads: Sequence[int], calls: int) -> dict[str, object]:
    row: dict[str, object] = {
        "name": part.name,
        "shape": part.shape,
        "calls": part.calls,
        "needed": part.needed,
        "note": part.note,
        "milliseconds": {},
        "not_run": None,
    }
    torch.manual_seed(0)
    try:
        forward = part.build()
        image = torch.rand(part.shape)
        with torch.inference_mode():
            row["milliseconds"] = {str(number): _median(forward, image, number, calls) for number in threads}
    except Exception as error:  # whatever a peer's code does not like is what the table says of it
        traceback.print_exc()
        row["not_run"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return row


def _median(forward: Forward, image: torch.Tensor, threads: int, calls: int) -> float:
    """Median time of one call, milliseconds."""
    torch.set_num_threads(threads)
    for _ in range(WARM_UP):
        forward(image)
    times = []
    for _ in range(calls):
        start = time.perf_counter()
        forward(image)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def hollow(package: str) -> ModuleType:
    """Stand in for a package whose own `__init__` needs what is not installed; its modules can then be imported one by one."""
    found = importlib.util.find_spec(package)
    module = ModuleType(package)
    module.__path__ = list(found.submodule_search_locations) if found and found.submodule_search_locations else []
    sys.modules[package] = module
    return module


def import_torchvision() -> None:
    """Import torchvision, without its compiled operators where they do not fit the installed torch (the index's are CUDA builds).

    None of the networks timed here uses one: their names are declared, which is all that importing needs.
    """
    try:
        importlib.import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        operators = torch.library.Library("torchvision", "DEF")
        operators.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        operators.define("qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        _DECLARED.append(operators)
        importlib.import_module("torchvision")


_DECLARED: list[torch.library.Library] = []
"""Declarations end with the object that made them."""


def eager(network: nn.Module) -> nn.Module:
    """The network as its program judges with it."""
    return network.eval().requires_grad_(False)
