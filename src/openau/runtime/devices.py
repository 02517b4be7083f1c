"""Where a model runs and where videos are decoded: `--device`."""

from __future__ import annotations

from typing import Literal, get_args

import onnxruntime as ort

from openau.errors import UsageError
from openau.media import hardware_decoders

Device = Literal["auto", "cpu", "cuda"]

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def resolve(device: str) -> Device:
    """`cpu` or `cuda`; `auto` is cuda where ONNX Runtime was built for it, and so is likely to have a GPU.

    Raises:
        UsageError: there is no such device, or ONNX Runtime was not built for it.
    """
    if device not in get_args(Device):
        raise UsageError(f"the device must be one of {', '.join(get_args(Device))}, not {device!r}")
    has_cuda = _CUDA in ort.get_available_providers()
    if device == "cuda" and not has_cuda:
        raise UsageError(
            "the device cuda needs ONNX Runtime's GPU build: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    return "cuda" if has_cuda and device != "cpu" else "cpu"


def providers(device: Device) -> list[str]:
    """ONNX Runtime's execution providers of a resolved device, the preferred one first."""
    return [_CUDA, _CPU] if device == "cuda" else [_CPU]


def decoder(device: Device) -> str | None:
    """What decodes videos on a resolved device; None is the processor."""
    return "cuda" if device == "cuda" and "cuda" in hardware_decoders() else None
