"""Arrays from anywhere become RGB uint8."""

from __future__ import annotations

import numpy as np
import pytest

from openau.runtime.pixels import as_rgb

RGB = np.random.default_rng(0).integers(0, 256, (6, 5, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    "same",
    [
        RGB,
        RGB.astype(np.uint16) * 257,
        RGB / 255,
        (RGB / 255).astype(np.float32),
        np.dstack([RGB, np.full((6, 5), 255, np.uint8)]),
        np.asfortranarray(RGB),
    ],
)
def test_the_same_picture_in_other_types(same: np.ndarray) -> None:
    out = as_rgb(same)
    assert out.dtype == np.uint8
    assert out.flags.c_contiguous
    np.testing.assert_array_equal(out, RGB)


def test_grey_becomes_three_equal_channels() -> None:
    grey = RGB[:, :, 0]
    for form in (grey, grey[:, :, None], grey.astype(np.uint16) * 257):
        np.testing.assert_array_equal(as_rgb(form), np.stack([grey] * 3, axis=2))
    np.testing.assert_array_equal(as_rgb(np.eye(3, dtype=bool))[:, :, 1], 255 * np.eye(3))


def test_transparent_parts_lie_on_white() -> None:
    clear = np.dstack([RGB, np.zeros((6, 5), np.uint8)])
    assert (as_rgb(clear) == 255).all()
    half = np.dstack([np.zeros((2, 2, 3), np.uint8), np.full((2, 2), 51, np.uint8)])
    assert (as_rgb(half) == 204).all()


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        (np.zeros((4,), np.uint8), "shape"),
        (np.zeros((4, 4, 2), np.uint8), "shape"),
        (np.zeros((0, 4, 3), np.uint8), "shape"),
        (np.zeros((2, 4, 4, 3), np.uint8), "shape"),
        (np.full((4, 4, 3), 255.0), "0–1"),
        (np.full((4, 4, 3), np.nan), "0–1"),
        (np.zeros((4, 4, 3), np.int32), "int32"),
    ],
)
def test_what_is_no_picture_is_refused_in_a_sentence(wrong: np.ndarray, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        as_rgb(wrong)
