"""Real photographs that come with scikit-image and Matplotlib, and the finder, built once."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import pytest
import skimage.data

from openau.faces import FaceFinder
from openau.media import read_image


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """(512, 512, 3) Eileen Collins, smiling, her head upright and facing the camera (NASA, public domain)."""
    return skimage.data.astronaut()


@pytest.fixture(scope="session")
def hopper() -> np.ndarray:
    """(600, 512, 3) Grace Hopper (US Navy, public domain)."""
    return read_image(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg")


@pytest.fixture(scope="session")
def finder() -> FaceFinder:
    return FaceFinder()
