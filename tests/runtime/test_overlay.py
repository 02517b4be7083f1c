"""Annotated pictures and videos."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from openau.errors import OutputError, UsageError
from openau.overlay import HOLD, Annotator, VideoOverlay, annotate, labels, one_side, write_image
from openau.result import AUColumns, Faces

COLUMNS = AUColumns((6, 12, 25), (), (12,))


def face(values: list[float], box: tuple[float, ...] = (60, 40, 80, 100), time: float = 0.0, number: int = 0) -> Faces:
    return Faces(
        columns=COLUMNS,
        source=np.array(["a"], object),
        frame=np.array([0]),
        timestamp=np.array([time]),
        face_id=np.array([number]),
        score=np.ones(1, np.float32),
        box=np.array([box], np.float32),
        pose=np.zeros((1, 3), np.float32),
        values=np.array([values], np.float32),
    )


def changed(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    return np.abs(before.astype(int) - after).max(axis=2) > 0


@pytest.mark.parametrize("shape", [(300, 400), (60, 50), (2000, 1500), (1, 1), (17, 300)])
@pytest.mark.parametrize("background", [0, 128, 255])
def test_any_size_and_background(shape: tuple[int, int], background: int) -> None:
    image = np.full((*shape, 3), background, np.uint8)
    height, width = shape
    faces = face([0.9, 0.8, 0.7, 0.9, 0.9], (width * 0.3, height * 0.3, width * 0.4, height * 0.4))
    out = annotate(image, faces)
    assert out.shape == image.shape
    assert out.dtype == np.uint8
    assert changed(image, out).any()
    assert (image == background).all()  # the picture handed in is left alone


def test_a_picture_without_a_face_stays_as_it_was() -> None:
    image = np.full((50, 50, 3), 77, np.uint8)
    np.testing.assert_array_equal(annotate(image, Faces.no_face(COLUMNS, "a")), image)


def test_text_is_readable_on_white_and_black() -> None:
    """The brightest and darkest pixels of the panel differ by a contrast of at least 7:1 (WCAG AAA)."""
    for background in (0, 255):
        image = np.full((400, 600, 3), background, np.uint8)
        out = annotate(image, face([0.9, 0.8, 0.7, 0.9, 0.9], (100, 100, 140, 180)))
        panel = out[changed(image, out)] / 255
        light = np.where(panel <= 0.04045, panel / 12.92, ((panel + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722]
        assert (light.max() + 0.05) / (np.median(light) + 0.05) > 7


def test_the_panel_leaves_the_face_free() -> None:
    image = np.full((400, 600, 3), 128, np.uint8)
    for x in (20, 230, 440):
        out = annotate(image, face([0.9, 0.8, 0.7, 0.9, 0.9], (x, 100, 140, 180)))
        assert not changed(image, out)[130:250, x + 20 : x + 120].any()


def test_labels_are_the_aus_that_are_present() -> None:
    assert [(label.number, label.name) for label in labels(face([0.5, 0.9, 0.49, 0.9, 0.9]), 0)] == [
        (6, "cheek raiser"), (12, "lip corner puller"),
    ]  # fmt: skip
    assert labels(face([np.nan] * 5), 0) == []


def test_a_side_is_named_where_only_one_shows_the_au() -> None:
    assert one_side(face([0, 0.9, 0, 0.8, 0.1]), 0, 12) == "L"
    assert one_side(face([0, 0.9, 0, 0.1, 0.8]), 0, 12) == "R"
    assert one_side(face([0, 0.9, 0, 0.8, 0.8]), 0, 12) == ""
    assert one_side(face([0.9, 0.9, 0, 0.8, 0.1]), 0, 6) == ""
    assert labels(face([0, 0.9, 0, 0.8, 0.1]), 0)[0].name == "lip corner puller, left"


def test_a_videos_list_does_not_flicker() -> None:
    image, annotator = np.full((200, 400, 3), 128, np.uint8), Annotator()
    present, absent = [0.9, 0.1, 0.1, 0, 0], [0.45, 0.1, 0.1, 0, 0]

    def panel_height(faces: Faces) -> int:
        return int(changed(image, annotator.draw(image, faces))[:, 160:].any(axis=1).sum())

    first = panel_height(face([0.9, 0.9, 0.1, 0.9, 0.9], time=0))
    held = panel_height(face(present, time=HOLD / 2))
    gone = panel_height(face(absent, time=3 * HOLD))
    assert first == held > gone


def test_pictures_are_written_by_suffix(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for suffix in (".png", ".jpg", ".webp", ".tif", ".bmp"):
        write_image(tmp_path / f"a{suffix}", image)
        with Image.open(tmp_path / f"a{suffix}") as back:
            assert back.size == (60, 40)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image)
    with pytest.raises(UsageError, match="annotated picture"):
        write_image(tmp_path / "a.mp4", image)
    with pytest.raises(OutputError, match="does not exist"):
        write_image(tmp_path / "no" / "a.png", image)
    assert len(list(tmp_path.iterdir())) == 5


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_a_video_keeps_size_and_times(suffix: str, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.51, 1.25]
    path = tmp_path / f"a{suffix}"
    with VideoOverlay(path) as video:
        for time in times:
            video.write(np.full((241, 319, 3), 90, np.uint8), face([0.9] * 5, time=time))
        assert not path.exists()
    with av.open(str(path)) as back:
        stream = back.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height) == (318, 240)
        shown = [frame.time for frame in back.decode(stream)]
    np.testing.assert_allclose(shown, times, atol=2e-3)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_a_video_that_fails_leaves_nothing_and_the_old_one_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")
    video = VideoOverlay(path)
    video.write(np.full((64, 64, 3), 90, np.uint8), face([0.9] * 5))
    video.__exit__(RuntimeError, RuntimeError(), None)
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.mp4"]
    with pytest.raises(UsageError, match="annotated video"):
        VideoOverlay(tmp_path / "a.avi")
    with pytest.raises(OutputError, match="does not exist"):
        VideoOverlay(tmp_path / "no" / "a.mp4")


@pytest.mark.parametrize("size", [(1, 1), (3, 1), (2, 5)])
def test_a_video_of_tiny_pictures(size: tuple[int, int], tmp_path: Path) -> None:
    with VideoOverlay(tmp_path / "a.mp4") as video:
        for index in range(3):
            video.write(np.zeros((*size, 3), np.uint8), Faces.no_face(COLUMNS, "a", index, index / 10))
    with av.open(str(tmp_path / "a.mp4")) as back:
        assert len(list(back.decode(video=0))) == 3


def test_a_picture_too_large_for_its_format_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"wide\.webp: cannot be written"):
        write_image(tmp_path / "wide.webp", np.zeros((1, 17_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []
