from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from openau.errors import InputError
from openau.media import Frame, open_camera, open_video

from .conftest import HEIGHT, WIDTH, cut, frame_image

MakeVideo = Callable[..., Path]

CONTAINERS = [
    pytest.param("clip.mp4", "libx264", {}, id="mp4"),
    pytest.param("clip.mkv", "libx264", {}, id="mkv"),
    pytest.param("clip.webm", "libvpx", {}, id="webm"),
    pytest.param("clip.avi", "mpeg4", {}, id="avi"),
    pytest.param("clip.avi", "mjpeg", {"pixels": "yuvj420p"}, id="mjpeg"),
    pytest.param("clip.ts", "libx264", {}, id="ts"),
    pytest.param("clip.gif", "gif", {"pixels": "rgb8"}, id="gif"),
]


def read_to_the_end(path: Path) -> tuple[list[Frame], str]:
    """The frames of a video that ends in an error, and its message."""
    frames: list[Frame] = []
    with open_video(path) as clip, pytest.raises(InputError) as caught:
        frames.extend(clip)
    return frames, str(caught.value)


@pytest.mark.parametrize(("name", "codec", "settings"), CONTAINERS)
def test_every_frame_comes_in_order_with_its_time_and_picture(
    video: MakeVideo, name: str, codec: str, settings: dict[str, str]
) -> None:
    with open_video(video(name, codec, **settings)) as clip:
        frames = list(clip)
        assert (clip.width, clip.height) == (WIDTH, HEIGHT)
        assert clip.duration == pytest.approx(2, abs=0.04)
        assert clip.frame_count_estimate == pytest.approx(60, abs=7)
    assert [f.index for f in frames] == list(range(60))
    # Containers round times: Matroska to milliseconds, GIF to hundredths of a second.
    rounding = 0.011 if codec == "gif" else 0.0011
    np.testing.assert_allclose([f.time for f in frames], np.arange(60) / 30, atol=rounding)
    for frame in frames:
        assert frame.image.shape == (HEIGHT, WIDTH, 3)
        assert frame.image.dtype == np.uint8
        brightness = frame.image[2:14, WIDTH // 2 + 8 :].mean()
        assert brightness == pytest.approx(2 * frame.index, abs=20 if codec == "gif" else 6)


def test_colours_are_those_that_were_encoded(video: MakeVideo) -> None:
    with open_video(video("clip.mp4", "libx264", frames=1)) as clip:
        (frame,) = clip
    red = frame.image[18:30, 8 : WIDTH // 2 - 8].reshape(-1, 3).mean(axis=0)
    expected = frame_image(0)[18:30, 8 : WIDTH // 2 - 8].reshape(-1, 3).mean(axis=0)
    np.testing.assert_allclose(red, expected, atol=6)


@pytest.mark.parametrize("suffix", ["mp4", "mkv"])
def test_variable_frame_rate_keeps_exact_times(video: MakeVideo, suffix: str) -> None:
    times = [500, 540, 580, 700, 710, 1200, 1201, 2000, 2033, 2066]
    with open_video(video(f"clip.{suffix}", "libx264", frames=len(times), times=times)) as clip:
        found = [f.time for f in clip]
    np.testing.assert_allclose(found, (np.array(times) - 500) / 1000, atol=1e-9)


@pytest.mark.parametrize(
    ("matrix", "red_corner"),
    [
        pytest.param((1, 0, 0, 1), (0, 0), id="upright"),
        pytest.param((0, 1, -1, 0), (0, 1), id="clockwise"),
        pytest.param((-1, 0, 0, -1), (1, 1), id="upside-down"),
        pytest.param((0, -1, 1, 0), (1, 0), id="counter-clockwise"),
    ],
)
def test_rotation_metadata_is_applied(video: MakeVideo, matrix: tuple[int, ...], red_corner: tuple[int, int]) -> None:
    path = video("phone.mp4", "libx264", frames=2)
    content = bytearray(path.read_bytes())
    # The track header's display matrix (ISO 14496-12): rows (a b u), (c d v), (x y w) in 16.16 and 2.30 fixed point.
    place = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (v * 0x10000 for v in matrix)
    content[place : place + 36] = struct.pack(">9i", a, b, 0, c, d, 0, 0, 0, 0x40000000)
    path.write_bytes(content)
    with open_video(path) as clip:
        frames = list(clip)
    sideways = matrix[0] == 0
    assert (clip.width, clip.height) == ((HEIGHT, WIDTH) if sideways else (WIDTH, HEIGHT))
    image = frames[-1].image
    assert image.shape[:2] == (clip.height, clip.width)
    rows, columns = image.shape[:2]
    corners = {
        (r, c): image[r * (rows - 12) : r * (rows - 12) + 12, c * (columns - 12) : c * (columns - 12) + 12, 0].mean()
        for r in (0, 1)
        for c in (0, 1)
    }
    assert max(corners, key=corners.__getitem__) == red_corner


@pytest.mark.parametrize(
    ("name", "codec", "settings"),
    [
        pytest.param("clip.mp4", "libx264", {"options": {"movflags": "faststart"}}, id="mp4"),
        pytest.param("clip.mkv", "libx264", {}, id="mkv"),
        pytest.param("clip.webm", "libvpx", {}, id="webm"),
        pytest.param("clip.avi", "mjpeg", {"pixels": "yuvj420p"}, id="avi"),
        pytest.param("song.mp4", "libx264", {"sound": 6, "options": {"movflags": "faststart"}}, id="longer sound"),
    ],
)
def test_a_truncated_video_yields_what_exists_and_then_says_where_it_ends(
    video: MakeVideo, name: str, codec: str, settings: dict[str, str]
) -> None:
    path = video(name, codec, **settings)
    with open_video(path) as clip:
        whole = [f.image for f in clip]
    with av.open(str(path)) as container:
        ends = [p.pos + p.size for p in container.demux(video=0) if p.size and p.pos is not None]
    size = path.stat().st_size
    cut(path, 0.55)
    complete = sum(end <= int(size * 0.55) for end in ends)
    assert 10 < complete < 50  # the cut is in the middle
    frames, message = read_to_the_end(path)
    assert complete - 4 <= len(frames) <= complete + 1  # pictures that refer to lost ones are lost too
    for frame, image in list(zip(frames, whole, strict=False))[:-5]:
        np.testing.assert_array_equal(frame.image, image)
    seconds = int(frames[-1].time * 10) / 10
    assert message == f"{path}: the video ends at 00:00:{seconds:04.1f} of 00:00:02.0 (truncated file)"


def test_long_times_are_told_in_hours_minutes_seconds(video: MakeVideo) -> None:
    # One frame a second for 220 s, as in the project's example sentence.
    path = video("clip.mkv", "libx264", frames=220, times=[1000 * i for i in range(220)])
    cut(path, 0.5)
    frames, message = read_to_the_end(path)
    minutes, seconds = divmod(round(frames[-1].time), 60)
    assert f"ends at 00:{minutes:02d}:{seconds:02d} of 00:03:39 (truncated file)" in message


def test_sound_longer_or_shorter_than_the_pictures_is_not_a_truncated_video(video: MakeVideo) -> None:
    for seconds in (0.5, 5):
        for name in ("song.mp4", "song.mkv"):
            with open_video(video(name, "libx264", sound=seconds)) as clip:
                assert len(list(clip)) == 60
                assert clip.duration == pytest.approx(2, abs=0.05)


def test_a_truncated_gif_is_noticed(video: MakeVideo) -> None:
    path = cut(video("clip.gif", "gif", pixels="rgb8"), 0.5)
    with (
        open_video(path) as clip,
        pytest.raises(InputError, match=r"clip\.gif: the animation ends at 00:00:0.*truncated"),
    ):
        list(clip)


def test_a_video_whose_index_is_cut_off_says_so(video: MakeVideo) -> None:
    path = cut(video("clip.mp4", "libx264"), 0.9)
    with pytest.raises(InputError, match=r"clip\.mp4: the video is truncated: its index"):
        open_video(path)


def test_bad_files_are_explained(tmp_path: Path) -> None:
    text = tmp_path / "text.mp4"
    text.write_text("not a video at all " * 100)
    empty = tmp_path / "empty.mp4"
    empty.touch()
    folder = tmp_path / "folder.mp4"
    folder.mkdir()
    cases = {text: "not a video", empty: "is empty", folder: "is a folder", tmp_path / "gone.mp4": "no such file"}
    for path, reason in cases.items():
        with pytest.raises(InputError, match=reason) as caught:
            open_video(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_read_permission_is_explained(video: MakeVideo) -> None:
    path = video("clip.mp4", "libx264", frames=1)
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        open_video(path)


def test_sound_alone_is_not_a_video(tmp_path: Path) -> None:
    path = tmp_path / "song.mp4"
    with av.open(str(path), "w") as container:
        audio = container.add_stream("aac", rate=16000)
        for block in range(20):
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            silence.sample_rate, silence.pts = 16000, block * 1024
            container.mux(audio.encode(silence))
        container.mux(audio.encode())
    with pytest.raises(InputError, match=r"song\.mp4: the file has no video stream"):
        open_video(path)


def test_a_damaged_packet_in_the_middle_does_not_end_the_video(video: MakeVideo) -> None:
    path = video("clip.avi", "mjpeg", pixels="yuvj420p")
    with av.open(str(path)) as container:
        packet = [p for p in container.demux(video=0) if p.size][30]
        place, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[place + 8 : place + 8 + size - 8] = bytes(size - 8)
    path.write_bytes(content)
    with open_video(path) as clip:
        times = [f.time for f in clip]
    assert len(times) >= 59
    assert times[-1] == pytest.approx(59 / 30)


def test_a_camera_that_is_not_there_is_explained(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="camera 97: there is no such camera"):
        open_camera(97)
    assert capfd.readouterr().err == ""


def test_a_name_with_a_colon_is_a_file(video: MakeVideo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    video("clip.mp4", "libx264", frames=2).rename(tmp_path / "2024-01-01T12:30.mp4")
    with open_video("2024-01-01T12:30.mp4") as clip:
        assert len(list(clip)) == 2
