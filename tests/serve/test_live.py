"""Live sessions over a real WebSocket: newest frame first, nothing queued, everybody's turn comes."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import skimage.data
from PIL import Image
from serving import Serving, serving, until
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

import openau

pytestmark = pytest.mark.weights


def jpeg(size: int = 320) -> bytes:
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((size, size)).save(out, "JPEG")
    return out.getvalue()


FRAME = jpeg()


@pytest.fixture(scope="module")
def running() -> Iterator[Serving]:
    with serving(live_idle_seconds=2.0, live_sessions=3) as server:
        yield server


@contextmanager
def join(server: Serving, query: str = "", **options: Any) -> Iterator[ClientConnection]:
    address = f"{server.address.replace('http', 'ws')}v1/live{query}"
    with connect(address, max_size=None, proxy=None, **options) as socket:
        assert json.loads(socket.recv(30))["type"] == "hello"
        yield socket


def refusal(server: Serving, query: str = "", **options: Any) -> int:
    """The status with which a session is refused, as a problem document."""
    with pytest.raises(InvalidStatus) as refused, join(server, query, **options):
        pass
    response = refused.value.response
    assert response.headers["content-type"] == "application/problem+json"
    assert json.loads(response.body)["status"] == response.status_code
    return response.status_code


def show(socket: ClientConnection, clock: float, frame: bytes = FRAME) -> None:
    socket.send(struct.pack("<d", clock) + frame)


def hear(socket: ClientConnection) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(socket.recv(30))
    return found


def sessions(server: Serving) -> int:
    return int(server.server.config.app.state.rooms.live.count)  # type: ignore[union-attr]


def test_a_frame_is_judged_as_the_detector_judges_it(running: Serving) -> None:
    with join(running) as socket:
        show(socket, 12.5)
        answer = hear(socket)
    faces = openau.Detector().detect_image(np.asarray(Image.open(io.BytesIO(FRAME))))
    (face,) = answer["faces"]
    assert (answer["clock"], answer["width"], answer["dropped"]) == (12.5, 320, 0)
    assert face["values"]["AU12"] == pytest.approx(float(faces.column("AU12")[0]), abs=0.03)
    assert list(face["values"]) == list(faces.columns.names)
    assert len(face["landmarks"]) == 2 * 468
    assert answer["ms"] > 0


def test_a_face_keeps_its_number(running: Serving) -> None:
    with join(running) as socket:
        for clock in range(4):
            show(socket, clock)
            assert [face["id"] for face in hear(socket)["faces"]] == [0]


def test_the_newest_frame_wins_and_the_others_are_counted(running: Serving) -> None:
    with join(running) as socket:
        show(socket, 0)
        hear(socket)
        for clock in range(1, 41):
            show(socket, clock)
        clocks = []
        while not clocks or clocks[-1] < 40:
            answer = hear(socket)
            clocks.append(answer["clock"])
        assert clocks == sorted(clocks)
        assert answer["received"] == 41
        assert answer["dropped"] == 41 - 1 - len(clocks)
        assert len(clocks) < 40, "frames that came faster than they could be judged are left out"
        show(socket, 41)
        assert hear(socket)["clock"] == 41
    counted = running.client.get("/metrics").text
    assert "openau_live_dropped_frames_total 0" not in counted


def test_a_greedy_client_does_not_starve_a_modest_one(running: Serving) -> None:
    stop = threading.Event()

    def flood(socket: ClientConnection) -> None:
        while not stop.is_set():
            show(socket, 0)
            time.sleep(0.001)

    def drain(socket: ClientConnection) -> None:
        try:
            while True:
                socket.recv()
        except ConnectionClosed:
            return

    with join(running) as greedy, join(running) as modest:
        show(modest, 0)
        hear(modest)
        threads = [threading.Thread(target=work, args=(greedy,)) for work in (flood, drain)]
        for thread in threads:
            thread.start()
        waits = []
        for clock in range(1, 9):
            started = time.monotonic()
            show(modest, clock)
            answer = hear(modest)
            waits.append(time.monotonic() - started)
            assert (answer["clock"], answer["dropped"]) == (clock, 0)
        stop.set()
        threads[0].join()
        greedy.close()
        threads[1].join()
    assert sorted(waits)[4] < 1.0


def test_a_client_that_does_not_listen_holds_nobody_up(running: Serving) -> None:
    with join(running) as deaf, join(running) as other:
        for clock in range(60):
            show(deaf, clock)
        for clock in range(3):
            show(other, clock)
            assert hear(other)["clock"] == clock


@pytest.mark.parametrize(
    ("frame", "status"),
    [
        (b"no picture", 415),
        (FRAME[: len(FRAME) // 3], 422),
        (b"\xff\xd8\xff\xc0\x00\x11\x08\xff\xff\xff\xff" + bytes(20), 413),
    ],
    ids=["another type", "cut short", "65535 × 65535"],
)
def test_a_bad_frame_is_a_problem_and_the_next_one_is_judged(running: Serving, frame: bytes, status: int) -> None:
    with join(running) as socket:
        show(socket, 1, frame)
        answer = hear(socket)
        if status != 422 or answer["type"] == "problem":  # a decoder may make something of half a JPEG
            assert (answer["type"], answer["status"]) == ("problem", status)
        show(socket, 2)
        assert len(hear(socket)["faces"]) == 1


@pytest.mark.parametrize("message", ["words", b"", b"1234567"])
def test_what_is_no_frame_ends_the_session(running: Serving, message: str | bytes) -> None:
    with join(running) as socket:
        socket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1003
    assert until(lambda: sessions(running) == 0)


def test_a_frame_that_is_too_large_ends_the_session(running: Serving) -> None:
    with join(running) as socket:

        def send_and_wait() -> None:  # either of them may be told
            show(socket, 1, bytes(3_000_000))
            socket.recv(10)

        with pytest.raises(ConnectionClosed):
            send_and_wait()
    assert until(lambda: sessions(running) == 0)


def test_an_idle_session_is_closed(running: Serving) -> None:
    with join(running) as socket:
        started = time.monotonic()
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(10)
        assert closed.value.rcvd is not None
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1000, "idle")
        assert 1.5 < time.monotonic() - started < 6


def test_there_are_only_so_many(running: Serving) -> None:
    assert until(lambda: sessions(running) == 0)
    with join(running), join(running), join(running):
        assert "openau_live_sessions 3" in running.client.get("/metrics").text
        assert refusal(running) == 503
    assert until(lambda: sessions(running) == 0)


def test_other_sites_and_unknown_models_are_refused(running: Serving) -> None:
    assert refusal(running, origin="https://evil.example") == 403
    assert refusal(running, additional_headers={"Sec-Fetch-Site": "cross-site"}) == 403
    assert refusal(running, "?model=nothing") == 404
    with join(running, origin=running.address.rstrip("/")):
        pass


def test_the_token_guards_it_too() -> None:
    token = "0123456789abcdef"
    with serving(token=token) as guarded:
        for headers in ({}, {"Authorization": "Bearer 0123456789abcdee"}, {"Cookie": "openau_session=x"}):
            assert refusal(guarded, additional_headers=headers) == 401
        with join(guarded, additional_headers={"Authorization": f"Bearer {token}"}):
            pass


def test_a_worker_that_dies_costs_a_frame(running: Serving) -> None:
    (lane,) = running.server.config.app.state.rooms.live._lanes  # type: ignore[union-attr]
    with join(running) as socket:
        show(socket, 1)
        hear(socket)
        os.kill(lane.process._process.pid, signal.SIGKILL)
        show(socket, 2)
        hear(socket)
        show(socket, 3)
        assert len(hear(socket)["faces"]) == 1
