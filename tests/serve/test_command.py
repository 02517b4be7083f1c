"""`openau serve` as a user runs it: what it says, how it refuses, and that nothing is left when it ends."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from clips import write_clip
from serving import until

from openau.errors import UsageError
from openau.serve.server import Server
from openau.serve.settings import Settings

Run = Callable[..., "subprocess.CompletedProcess[str]"]


needs_proc = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks for processes in /proc")


@contextmanager
def running(temporary: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command in a process of its own, with a temporary folder of its own, and its address."""
    command = [sys.executable, "-m", "openau", "serve", "--port", "0", *options]
    environment = {**os.environ, "TMPDIR": str(temporary)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, line
        yield process, address[0]
    finally:
        process.kill()
        process.communicate()


def children(process: int) -> list[int]:
    """Processes that a process has started."""
    return [int(pid) for pid in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def begin_an_upload(address: str, temporary: Path) -> socket.socket:
    """Send the first byte of a photo and no more, as a client that is still there."""
    client = socket.create_connection(("127.0.0.1", int(address.rstrip("/").rpartition(":")[2])))
    head = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 99\r\n\r\nx"
    client.sendall(head)
    assert until(lambda: list(temporary.glob("openau-serve-*/*/upload")))
    return client


def begin_a_video(address: str, folder: Path) -> str:
    """Have a server work on a video; the job's address."""
    clip = write_clip(folder / "clip.mp4", 250)
    with clip.open("rb") as file:
        place: str = httpx.post(f"{address}v1/detect", files={"file": file}, timeout=60).headers["location"]
    assert until(lambda: httpx.get(f"{address}{place[1:]}").json()["frames"] > 0, 30)
    return place


@pytest.mark.weights
@needs_proc
def test_nothing_is_left_after_ctrl_c_nor_after_the_next_start(tmp_path: Path) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    with running(temporary) as (process, address), begin_an_upload(address, temporary):
        workers = children(process.pid)
        process.kill()
        process.wait()
    assert len(list(temporary.iterdir())) == 1, "who is killed cannot tidy up"
    assert until(lambda: not any(alive(worker) for worker in workers)), "workers end with their server"
    with running(temporary) as (process, address):
        (folder,) = temporary.iterdir()
        assert folder.name.split("-")[2] == str(process.pid), "the next server does it"
        begin_a_video(address, tmp_path)
        assert list(temporary.glob("openau-serve-*/*/upload.mp4"))
        workers = children(process.pid)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert time.monotonic() - started < 10
    assert (process.returncode, out, err) == (0, "Stopped; nothing was kept.\n", "")
    assert list(temporary.iterdir()) == []
    assert until(lambda: not any(alive(worker) for worker in workers))


def test_it_refuses_in_a_sentence(openau: Run) -> None:
    run = openau("serve", "--port", "0", "--host", "0.0.0.0")
    assert (run.returncode, run.stdout) == (2, "")
    assert "give it a --token" in run.stderr
    assert len(run.stderr.splitlines()) == 1


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"host": "203.0.113.9", "token": "0123456789abcdef"}, "not this machine's address"),
        ({"model": "nothing.here"}, "nothing.here"),
    ],
)
def test_a_server_that_cannot_be(settings: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        Server(Settings(port=0, **settings), lambda address: None)  # type: ignore[arg-type]


def test_a_port_that_is_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other, pytest.raises(UsageError, match="in use by another program"):
        Server(Settings(port=other.getsockname()[1]), lambda address: None)


def test_its_help_teaches(openau: Run) -> None:
    told = openau("serve", "--help").stdout
    for words in ("NOTHING LEAVES THIS MACHINE", "curl -F file=@photo.jpg", "--token", "--max-mb", "OPENAU_TOKEN"):
        assert words in told
