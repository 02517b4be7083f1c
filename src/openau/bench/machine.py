"""What the numbers were measured on, and how much memory a process took."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import numpy as np

import openau


def describe() -> str:
    """The machine and the software in one line."""
    return (
        f"{_processor()}, {cores()} cores, {platform.system()} {platform.machine()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}, OpenAU {openau.__version__}"
    )


def cores() -> int:
    """Cores this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def peak_memory() -> float:
    """Most memory this process has ever taken, megabytes; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    if status.exists():
        # Better than getrusage on Linux, whose figure a child process takes over from its parent.
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024 / 1e6
    try:
        import resource
    except ImportError:
        return float("nan")
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / 1e6 if sys.platform == "darwin" else most * 1024 / 1e6


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown processor"
