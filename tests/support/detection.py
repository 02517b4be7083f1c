"""Fixtures of the detection tests: a model with random weights and short clips, made once."""

from __future__ import annotations

from pathlib import Path

import pytest
from clips import frame, write_clip
from PIL import Image
from random_model import write_model


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ONNX file of a model with random weights."""
    return write_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with one.png, two.png (faces), wall.png (none), one.mp4 (24 frames) and two.mp4 (20, the middle ones empty)."""
    folder = tmp_path_factory.mktemp("media")
    for name, faces in (("wall", 0), ("one", 1), ("two", 2)):
        Image.fromarray(frame(0, faces)).save(folder / f"{name}.png")
    write_clip(folder / "one.mp4", 24)
    write_clip(folder / "two.mp4", 20, faces=2, empty=range(8, 11))
    return folder
