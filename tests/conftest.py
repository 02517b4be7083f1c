"""Fixtures every test may use."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

# Before torch is imported: tests run side by side, and processes with a thread per core each would mostly wait for one another.
os.environ.setdefault("OMP_NUM_THREADS", "1")


def pytest_configure(config: pytest.Config) -> None:
    """Let Ctrl-C reach the programs the tests start: a shell's background jobs ignore it, and their children inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A weight cache of this test's own, empty, with the network allowed."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("OPENAU_CACHE", str(folder))
    monkeypatch.delenv("OPENAU_OFFLINE", raising=False)
    monkeypatch.delenv("OPENAU_ICT", raising=False)
    return folder


@pytest.fixture
def openau() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Run the command line as a user does: in its own process."""

    def run(*arguments: str | Path, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "openau", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)

    return run
