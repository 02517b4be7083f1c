from __future__ import annotations

import os
import struct
import warnings
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from openau.errors import InputError
from openau.media import read_image

COLOURS = np.array([[(255, 0, 0), (0, 255, 0), (0, 0, 255)], [(255, 255, 0), (0, 255, 255), (255, 0, 255)]], np.uint8)


@pytest.fixture
def picture() -> np.ndarray:
    """(32, 48, 3): six patches of plain colour, told apart in any orientation."""
    return COLOURS.repeat(16, axis=0).repeat(16, axis=1)


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif", "webp", "jpg", "ppm", "gif"])
def test_formats(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"picture.{suffix}"
    settings = {"lossless": True} if suffix == "webp" else {"quality": 98, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(picture).save(path, **settings)
    image = read_image(path)
    assert image.dtype == np.uint8
    assert image.flags.c_contiguous
    np.testing.assert_allclose(image.astype(int), picture, atol=8 if suffix == "jpg" else 0)


# What each orientation means, as in the EXIF standard: where the stored first row and first column are seen.
# Each entry undoes it with NumPy calls that say what they do.
UNDO = {
    1: lambda a: a,
    2: np.fliplr,
    3: lambda a: np.rot90(a, 2),
    4: np.flipud,
    5: lambda a: np.rot90(np.fliplr(a)),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(np.fliplr(a), -1),
    8: lambda a: np.rot90(a),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["png", "jpg", "tif"])
def test_exif_orientation(tmp_path: Path, picture: np.ndarray, orientation: int, suffix: str) -> None:
    path = tmp_path / f"phone.{suffix}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    settings = {"quality": 98, "subsampling": 0} if suffix == "jpg" else {}
    Image.fromarray(picture).save(path, exif=exif, **settings)
    image = read_image(path)
    expected = UNDO[orientation](picture)
    assert image.shape == expected.shape
    np.testing.assert_allclose(image.astype(int), expected, atol=8)
    if suffix == "jpg":  # OpenCV applies the orientation of JPEG files itself: another implementation.
        other = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
        np.testing.assert_allclose(image.astype(int), other.astype(int), atol=8)


def test_damaged_exif_does_not_hide_the_picture(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "odd.jpg"
    Image.fromarray(picture).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7fgarbage", quality=98, subsampling=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        np.testing.assert_allclose(read_image(path).astype(int), picture, atol=8)


@pytest.mark.parametrize("suffix", ["png", "tif", "pgm"])
def test_16_bit_grey_uses_the_full_range(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"deep.{suffix}"
    values = np.array([[0, 257, 32896], [65535, 65278, 256]], np.uint16)
    cv2.imwrite(str(path), values)
    expected = np.array([[0, 1, 128], [255, 254, 1]])
    np.testing.assert_array_equal(read_image(path), expected[..., None].repeat(3, axis=-1))


def test_16_bit_colour(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "deep.png"
    cv2.imwrite(str(path), cv2.cvtColor(picture, cv2.COLOR_RGB2BGR).astype(np.uint16) * 257)
    np.testing.assert_array_equal(read_image(path), picture)


def test_floating_point_tiff(tmp_path: Path) -> None:
    path = tmp_path / "float.tif"
    Image.fromarray(np.array([[0, 0.5, 1, 2, -1]], np.float32)).save(path)
    np.testing.assert_array_equal(read_image(path)[0, :, 0], [0, 128, 255, 255, 0])


@pytest.mark.parametrize("mode", ["L", "1", "P"])
def test_grey_bilevel_and_palette(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "plain.png"
    grey = np.array([[0, 255], [255, 0]], np.uint8).repeat(4, axis=0).repeat(4, axis=1)
    Image.fromarray(grey).convert(mode).save(path)
    np.testing.assert_array_equal(read_image(path), grey[..., None].repeat(3, axis=-1))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_parts_are_white(tmp_path: Path, mode: str) -> None:
    path = tmp_path / "cutout.png"
    image = Image.new("RGBA", (3, 1))
    for x, alpha in enumerate((0, 128, 255)):
        image.putpixel((x, 0), (50, 50, 50, alpha))
    image.convert(mode).save(path)
    np.testing.assert_allclose(read_image(path)[0, :, 0].astype(int), [255, 152, 50], atol=1)


def test_transparent_palette_colour_is_white(tmp_path: Path) -> None:
    path = tmp_path / "logo.gif"
    image = Image.fromarray(np.array([[0, 1]], np.uint8), "P")
    image.putpalette([10, 20, 30, 40, 50, 60])
    image.save(path, transparency=0)
    np.testing.assert_array_equal(read_image(path), [[(255, 255, 255), (40, 50, 60)]])


def test_cmyk(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "print.jpg"
    Image.fromarray(picture).convert("CMYK").save(path, quality=98, subsampling=0)
    np.testing.assert_allclose(read_image(path).astype(int), picture, atol=10)


@pytest.mark.parametrize("suffix", ["gif", "webp", "png"])
def test_an_animation_gives_its_first_picture(tmp_path: Path, picture: np.ndarray, suffix: str) -> None:
    path = tmp_path / f"moving.{suffix}"
    settings = {"lossless": True} if suffix == "webp" else {}
    first, second = Image.fromarray(picture), Image.fromarray(picture[::-1].copy())
    first.save(path, save_all=True, append_images=[second], **settings)
    np.testing.assert_array_equal(read_image(path), picture)


def test_one_pixel(tmp_path: Path) -> None:
    path = tmp_path / "dot.png"
    Image.new("RGB", (1, 1), (1, 2, 3)).save(path)
    np.testing.assert_array_equal(read_image(path), [[(1, 2, 3)]])


def _png_header(path: Path, width: int, height: int) -> Path:
    """A PNG that announces a size and holds next to nothing."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">2I5B", width, height, 8, 2, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    return path


def test_a_huge_picture_is_refused_by_its_header(tmp_path: Path) -> None:
    path = _png_header(tmp_path / "bomb.png", 60000, 60000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(
            InputError, match=r"bomb\.png: the image has 60000 × 60000 pixels = 3,600 megapixels.* 300$"
        ):
            read_image(path)


def test_the_limit_is_an_option_and_inclusive(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    assert read_image(path, max_pixels=32 * 48).shape == picture.shape
    with pytest.raises(InputError, match="the limit is"):
        read_image(path, max_pixels=32 * 48 - 1)


def test_pictures_beyond_pillows_own_limit_are_read_without_a_warning(
    tmp_path: Path, picture: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "picture.png"
    Image.fromarray(picture).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(read_image(path), picture)
    assert Image.MAX_IMAGE_PIXELS == 10  # a program's own setting is left alone


@pytest.mark.parametrize("settings", [{}, {"progressive": True}, {"subsampling": 0, "quality": 100}, {"quality": 20}])
@pytest.mark.parametrize("trailer", [b"", b"data of the camera's maker"])
def test_jpeg_files_have_the_pixels_pillow_gives_them(
    tmp_path: Path, picture: np.ndarray, settings: dict[str, object], trailer: bytes
) -> None:
    path = tmp_path / "a.jpg"
    Image.fromarray(picture).save(path, **settings)
    path.write_bytes(path.read_bytes() + trailer)
    with Image.open(path) as pillow:
        np.testing.assert_array_equal(read_image(path), np.asarray(pillow))


@pytest.mark.parametrize("suffix", ["jpg", "png", "webp", "bmp", "tif"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_truncated_pictures_are_explained(tmp_path: Path, suffix: str, share: float) -> None:
    path = tmp_path / f"half.{suffix}"
    noise = np.random.default_rng(0).integers(0, 255, (120, 160, 3), np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(InputError) as caught:
        read_image(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_is_not_a_picture_is_explained(tmp_path: Path) -> None:
    text = tmp_path / "text.jpg"
    text.write_text("hello")
    empty = tmp_path / "empty.jpg"
    empty.touch()
    folder = tmp_path / "x.jpg"
    folder.mkdir()
    cases = {text: "not an image", empty: "is empty", folder: "is a folder", tmp_path / "gone.jpg": "no such file"}
    for path, reason in cases.items():
        with pytest.raises(InputError, match=reason) as caught:
            read_image(path)
        assert str(caught.value).startswith(f"{path}: ")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_a_file_without_read_permission_is_explained(tmp_path: Path, picture: np.ndarray) -> None:
    path = tmp_path / "secret.png"
    Image.fromarray(picture).save(path)
    path.chmod(0)
    with pytest.raises(InputError, match="permission denied"):
        read_image(path)
