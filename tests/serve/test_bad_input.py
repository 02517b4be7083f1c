"""What must not happen: the right status as a problem document, the server keeps serving, nothing stays on the disk."""

from __future__ import annotations

import asyncio
import io
import json
import os
import random
import signal
import socket
import struct
import threading
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import skimage.data
from clips import write_clip
from PIL import Image
from serving import Serving, serving, until

pytestmark = pytest.mark.weights

MAX_BYTES = 300_000
TOKEN = "correct horse battery staple"


def encoded(kind: str, size: int = 256) -> bytes:
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).resize((size, size)).save(out, kind)
    return out.getvalue()


@pytest.fixture(scope="module")
def photo() -> bytes:
    return encoded("JPEG")


@pytest.fixture(scope="module")
def limited() -> Iterator[Serving]:
    """A server that takes little."""
    with serving(
        max_bytes=MAX_BYTES, max_pixels=1_000_000, max_seconds=2.0, queue=6, upload_seconds=3.0, photo_seconds=4.0
    ) as running:
        yield running


@pytest.fixture(autouse=True)
def is_unharmed(limited: Serving, photo: bytes) -> Iterator[None]:
    """After every test the server judges a photo, and nothing lies on its disk."""
    yield
    assert limited.client.post("/v1/detect", files={"file": ("me.jpg", photo)}).json()["faces"] == 1
    assert until(lambda: limited.files() == []), limited.files()


def problem(answer: httpx.Response, status: int) -> str:
    """The sentence of a problem document."""
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json"), answer.text
    document = answer.json()
    assert document["status"] == status
    assert document["title"]
    assert "Traceback" not in answer.text
    assert "/tmp" not in answer.text
    assert "openau-serve" not in answer.text
    return str(document["detail"])


def send(server: Serving, content: Any, name: str = "me.jpg", **options: Any) -> httpx.Response:
    return server.client.post("/v1/detect", files={"file": (name, content)}, **options)


def bomb(width: int, height: int) -> bytes:
    """A PNG of a few hundred bytes that says it has so many pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(99999)))
        + chunk(b"IEND", b"")
    )


def test_too_many_bytes_announced(limited: Serving) -> None:
    body = random.Random(0).randbytes(MAX_BYTES + 1)
    assert "larger" in problem(
        limited.client.post("/v1/detect", content=body, headers={"Content-Type": "image/png"}), 413
    )
    assert "larger" in problem(send(limited, body + bytes(100_000)), 413)


def test_too_many_bytes_in_chunks_that_announce_nothing(limited: Serving) -> None:
    def endless() -> Iterator[bytes]:
        for _ in range(200):
            yield bytes(64 << 10)

    answer = limited.client.post("/v1/detect", content=endless(), headers={"Content-Type": "video/mp4"})
    assert "larger" in problem(answer, 413)


def test_a_form_s_other_fields_do_not_get_around_the_limit(limited: Serving, photo: bytes) -> None:
    answer = limited.client.post(
        "/v1/detect", data={"more": "x" * 2 * MAX_BYTES}, files={"file": ("me.jpg", photo)}, headers={}
    )
    problem(answer, 413)


def test_no_room_on_the_disk(photo: bytes) -> None:
    with serving(max_disk=1000) as small:
        assert "no room" in problem(send(small, photo), 507)
        assert until(lambda: small.files() == [])


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/json", b"{}"),
        ("text/html", b"<html>"),
        ("application/x-www-form-urlencoded", b"file=x"),
        ("image/", b"x"),
    ],
)
def test_another_type_is_refused_before_it_is_read(limited: Serving, content_type: str, body: bytes) -> None:
    answer = limited.client.post("/v1/detect", content=body, headers={"Content-Type": content_type})
    assert content_type in problem(answer, 415)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("notes.txt", b"no picture at all\n" * 50),
        ("photo.jpg", b"MZ" + bytes(5000)),
        ("list.m3u8", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nfile:///etc/passwd\n#EXT-X-ENDLIST\n"),
        ("video.mp4", b"#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:1,\nhttp://127.0.0.1:9/x.ts\n#EXT-X-ENDLIST\n"),
        ("list.mp4", b"ffconcat version 1.0\nfile '/etc/hostname'\n"),
        ("page.eps", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n(x) run\n%%EOF\n"),
        ("picture.svg", b'<svg xmlns="http://www.w3.org/2000/svg"/>'),
        ("noise.bin", random.Random(1).randbytes(20_000)),
    ],
)
def test_neither_photo_nor_video(limited: Serving, name: str, content: bytes) -> None:
    assert problem(send(limited, content, name), 415) == f"{name}: this is neither a photo nor a video OpenAU can read"


def test_decompression_bombs_are_seen_by_their_header(limited: Serving) -> None:
    for width, height in ((60_000, 60_000), (2**31 - 1, 2**31 - 1), (1001, 1000)):
        assert "the limit is" in problem(send(limited, bomb(width, height), "bomb.png"), 413)


def test_damaged_files(limited: Serving, photo: bytes, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 20).read_bytes()
    for name, content in (
        ("cut.jpg", photo[: len(photo) // 2]),
        ("cut.png", encoded("PNG")[:9000]),
        ("cut.mp4", clip[: len(clip) // 2]),
        ("head.gif", encoded("GIF")[:20]),
        ("lie.png", bomb(300, 300)),
    ):
        assert problem(send(limited, content, name), 422).startswith(f"{name}: ")
    assert "nothing was sent" in problem(send(limited, b""), 400)
    answer = limited.client.post("/v1/detect", content=b"", headers={"Content-Type": "image/png"})
    assert "nothing was sent" in problem(answer, 400)


def test_a_video_that_is_too_long_or_too_large(limited: Serving, tmp_path: Path) -> None:
    long = write_clip(tmp_path / "long.mp4", 6, times=[0, 1, 2, 3, 4, 5], width=64, height=48)
    assert "s long" in problem(send(limited, long.read_bytes(), "long.mp4"), 413)
    large = write_clip(tmp_path / "large.mp4", 1, width=1600, height=1200)
    assert "megapixels" in problem(send(limited, large.read_bytes(), "large.mp4"), 413)


@pytest.mark.parametrize(
    ("body", "boundary"),
    [
        (b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\nabc', "b"),
        (b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nabc\r\n--b--\r\n', "b"),
        (b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nabc\r\n--b--\r\n', "b"),
        (b"not a form at all", "b"),
        (b"--b\r\n" + b"X: y\r\n" * 500 + b"\r\n--b--\r\n", "b"),
        (b"--b--\r\n", ""),
    ],
    ids=["cut short", "another field", "no file", "no form", "headers without end", "no boundary"],
)
def test_broken_forms(limited: Serving, body: bytes, boundary: str) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    assert "form" in problem(limited.client.post("/v1/detect", content=body, headers=headers), 400)


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../../../etc/cron.d/x.jpg", "x.jpg"),
        ("C:\\Windows\\x.jpg", "x.jpg"),
        ("/etc/passwd", "passwd"),
        ("..", "upload.jpg"),
        ("a\u202egpj.exe", "agpj.exe"),
        ("x" * 3000 + ".jpg", "x" * 116 + ".jpg"),
        ("<script>alert(1)</script>.jpg", "script>.jpg"),
        ("$(touch y).jpg;rm -rf", "$(touch y).jpg;rm -rf"),
    ],
)
def test_names_that_want_to_be_more(limited: Serving, photo: bytes, given: str, shown: str) -> None:
    headers = {"Content-Type": "image/jpeg"}
    url = f"{limited.address}v1/detect"
    if len(given) < 1000:
        answer = limited.client.post(url, content=photo, headers=headers, params={"name": given})
        assert answer.json()["source"] == shown
    form = limited.client.post(url, files={"file": (given, photo, "image/jpeg")})
    assert form.status_code in (200, 400), form.text  # the form's own header may be too long
    if form.status_code == 200:
        assert form.json()["source"] == shown


def test_a_client_that_leaves_in_the_middle(limited: Serving, photo: bytes) -> None:
    head = b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
    for rest in (
        b"Content-Length: 100000\r\n\r\n" + photo[:500],
        b"Transfer-Encoding: chunked\r\n\r\n1f4\r\n" + photo[:500],
    ):
        with socket.create_connection(("127.0.0.1", limited.port)) as client:
            client.sendall(head + rest)
            assert until(lambda: any("upload" in name for name in limited.files()))
        assert until(lambda: limited.files() == [])
    with socket.create_connection(("127.0.0.1", limited.port)) as client:  # leaves while its photo is judged
        client.sendall(head + f"Content-Length: {len(photo)}\r\n\r\n".encode() + photo)
    assert until(lambda: limited.files() == [])


def test_a_client_that_falls_silent(limited: Serving) -> None:
    with socket.create_connection(("127.0.0.1", limited.port)) as client:
        client.sendall(
            b"POST /v1/detect HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\nContent-Length: 9999\r\n\r\nx"
        )
        client.settimeout(10)
        answer = client.recv(9999)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"application/problem+json" in answer


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="counts descriptors in /proc")
def test_two_hundred_uploads_at_once(limited: Serving, photo: bytes) -> None:
    async def all_at_once() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=200)
        async with httpx.AsyncClient(base_url=limited.address, timeout=60, limits=limits) as client:
            return await asyncio.gather(
                *(client.post("/v1/detect", files={"file": (f"{i}.jpg", photo)}) for i in range(200))
            )

    before, threads = descriptors(), threading.active_count()
    answers = asyncio.run(all_at_once())
    served = [answer for answer in answers if answer.status_code == 200]
    assert len(served) >= 7, "what is judged and may wait is served"
    for answer in answers:
        if answer.status_code != 200:
            assert "waiting" in problem(answer, 503)
            assert int(answer.headers["retry-after"]) > 0
    for answer in served:
        assert answer.json()["faces"] == 1
    assert until(lambda: descriptors() <= before + 2)
    assert threading.active_count() <= threads + 1


def test_a_worker_that_is_killed_or_hangs_is_replaced(limited: Serving, photo: bytes) -> None:
    send(limited, photo)
    (worker,) = limited.server.config.app.state.rooms.photos._workers  # type: ignore[union-attr]
    for what, status, words in ((signal.SIGSTOP, 504, "took longer"), (signal.SIGKILL, 200, "")):
        os.kill(worker._process.pid, what)
        time.sleep(0.1)
        answer = send(limited, photo)
        if status == 200:
            assert answer.json()["faces"] == 1
        else:
            assert words in problem(answer, status)
            send(limited, photo)


def test_a_worker_that_dies_of_a_video(limited: Serving, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 48, width=160, height=120)
    place = send(limited, clip.read_bytes(), "clip.mp4").headers["location"]
    assert until(lambda: limited.client.get(place).json()["state"] == "running")
    (worker,) = limited.server.config.app.state.rooms.videos._workers  # type: ignore[union-attr]
    assert until(lambda: worker._process is not None and worker._process.pid)
    os.kill(worker._process.pid, signal.SIGKILL)
    job = limited.finished(place)
    assert (job["state"], job["problem"]) == ("failed", "clip.mp4: a decoder crashed on this video")
    assert problem(limited.client.get(f"{place}/result"), 409) == job["problem"]
    assert limited.client.delete(place).status_code == 204


def test_what_is_not_there(limited: Serving) -> None:
    for path in ("/v1/jobs/x", "/v1/jobs/../../etc/passwd", "/page/../app.py", "/page/%2e%2e/app.py", "/docs", "/%00"):
        problem(limited.client.get(path), 404)
    problem(limited.client.put("/v1/detect"), 405)
    problem(limited.client.get("/v1/jobs/x/result", params={"format": "exe"}), 422)
    problem(limited.client.post("/v1/detect", params={"landmarks": "perhaps"}), 422)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "evil.example:8765",
        "192.168.1.7",
        "localhost@evil",
        "a b",
        "",
    ],
)
def test_another_name_for_this_server(limited: Serving, host: str) -> None:
    with socket.create_connection(("127.0.0.1", limited.port)) as client:
        client.sendall(f"GET /v1/models HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: client.recv(65536), b""))
    assert answer.split()[1] in (b"400", b"421"), answer
    if host:
        assert b"application/problem+json" in answer or answer.split()[1] == b"400"
    assert b"fantrans" not in answer


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.2:80", "[::1]:8765", "localhost."])
def test_names_of_this_machine(limited: Serving, host: str) -> None:
    assert limited.client.get("/healthz", headers={"Host": host}).status_code == 200


def test_other_sites_may_not_use_this_server(limited: Serving, photo: bytes) -> None:
    own = limited.address.rstrip("/")
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": own.replace("127.0.0.1", "localhost")},
        {"Origin": own + "0"},
        {"Sec-Fetch-Site": "cross-site"},
    ):
        assert "another site" in problem(send(limited, photo, headers=headers), 403)
        assert "another site" in problem(limited.client.delete("/v1/jobs/x", headers=headers), 403)
    assert send(limited, photo, headers={"Origin": own, "Sec-Fetch-Site": "same-origin"}).status_code == 200


@pytest.fixture(scope="module")
def guarded() -> Iterator[Serving]:
    with serving(host="0.0.0.0", token=TOKEN, allowed_hosts=("aus.example.org",)) as running:
        yield running


def test_the_token(guarded: Serving, photo: bytes) -> None:
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN[:-1]}"},
        {"Authorization": f"Basic {TOKEN}"},
        {"Cookie": f"openau_session={TOKEN}"},
        {"Authorization": "Bearer \xff".encode("latin-1")},
    ):
        for method, path in (
            ("GET", "/v1/models"),
            ("GET", "/metrics"),
            ("GET", "/openapi.json"),
            ("POST", "/v1/detect"),
        ):
            answer = guarded.client.request(method, path, headers=headers)
            assert "token" in problem(answer, 401)
            assert answer.headers["www-authenticate"] == "Bearer"
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert guarded.client.get("/v1/models", headers=right).status_code == 200
    assert guarded.client.get("/healthz").status_code == 200
    assert guarded.client.get("/healthz", headers={"Host": "aus.example.org"}).status_code == 200
    problem(guarded.client.get("/healthz", headers={"Host": "evil.example.org"}), 421)


def test_logging_in_and_out(guarded: Serving) -> None:
    with httpx.Client(base_url=guarded.address) as browser:
        assert "Log in" in browser.get("/").text
        wrong = browser.post("/login", data={"token": "wrong"})
        assert (wrong.status_code, browser.cookies.get("openau_session")) == (401, None)
        assert "not the token" in wrong.text
        right = browser.post("/login", data={"token": TOKEN})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert TOKEN not in right.headers["set-cookie"]
        assert browser.get("/v1/models").status_code == 200
        secret = browser.cookies["openau_session"]
        browser.post("/logout")
        browser.cookies.set("openau_session", secret)
        problem(browser.get("/v1/models"), 401)
        problem(browser.post("/login", data={"token": "x" * 10_000}), 413)


def test_every_answer_has_its_headers(limited: Serving) -> None:
    for path in ("/", "/page/app.js", "/v1/models", "/nowhere"):
        headers = limited.client.get(path).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["x-frame-options"] == "DENY"
        assert "server" not in headers
    assert json.loads(limited.client.get("/nowhere").text)["status"] == 404
