"""What every extractor must do, and what is theirs alone."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest
from tiny_fan import CONFIG, NAME, write_fan

from openau.errors import UsageError, WeightsError
from openau.faces import FaceFinder, FaceMesh, features
from openau.faces.align import MESH_SIZE, TEMPLATES, align, warp
from openau.faces.extractors import FACE_MESH, Extractor, FaceMeshExtractor, Layout, layout, load
from openau.faces.fan import FAN256
from openau.faces.fan_features import geometry
from openau.faces.mesh import MAPS
from openau.faces.network import Network
from openau.weights.extractors import card_beside

pytestmark = pytest.mark.weights


@pytest.fixture(scope="session")
def mesh_extractor(finder: FaceFinder) -> FaceMeshExtractor:
    return FaceMeshExtractor(finder.mesh)


class ExtractorContract:
    """Subclass, give the fixture `extractor`; every extractor must pass all of it."""

    def test_shapes_are_those_of_the_layout(
        self, extractor: Extractor, finder: FaceFinder, astronaut: np.ndarray
    ) -> None:
        (face,) = finder.find(astronaut)
        crop, _ = align(astronaut, face.landmarks, extractor.layout.template)
        seen = extractor.look(crop)
        assert {"geometry": seen.geometry.shape, "hypercolumns": seen.columns.shape} == extractor.layout.inputs
        assert (seen.geometry.dtype, seen.columns.dtype) == (np.float32, np.float32)
        assert np.isfinite(seen.geometry).all()
        assert np.isfinite(seen.columns.astype(np.float16)).all()  # stores keep 16 bits
        assert 0 <= seen.score <= 1
        assert np.ptp(seen.columns) > 0

    def test_the_same_crop_gives_the_same_bytes(
        self, extractor: Extractor, hopper: np.ndarray, finder: FaceFinder
    ) -> None:
        (face,) = finder.find(hopper)
        first, other, again = (extractor.look_at(hopper, face, mirrored) for mirrored in (False, True, False))
        np.testing.assert_array_equal(first.columns, again.columns)
        np.testing.assert_array_equal(first.geometry, again.geometry)
        assert not np.array_equal(first.columns, other.columns)

    def test_mirrored_is_the_look_at_the_mirrored_picture(
        self, extractor: Extractor, finder: FaceFinder, hopper: np.ndarray
    ) -> None:
        """By the definition: mirror the picture and the region, then crop."""
        (face,) = finder.find(hopper)
        size = TEMPLATES[extractor.layout.template].size
        seen = extractor.look_at(hopper, face, mirrored=True)
        matrix = (
            face.matrix if extractor.layout == FACE_MESH else TEMPLATES[extractor.layout.template].fit(face.landmarks)
        )
        picture = np.array([[-1, 0, hopper.shape[1]], [0, 1, 0], [0, 0, 1]])
        own = np.array([[-1, 0, size], [0, 1, 0], [0, 0, 1]])
        moved = (own @ np.vstack([matrix, [0, 0, 1]]) @ np.linalg.inv(picture))[:2]
        expected = extractor.look(warp(np.ascontiguousarray(hopper[:, ::-1]), moved, size))
        assert np.abs(seen.columns - expected.columns).mean() < 0.05 * np.abs(expected.columns).mean()

    def test_layouts_survive_a_feature_stores_meta(self, extractor: Extractor) -> None:
        assert Layout.from_meta(extractor.layout.to_meta()) == extractor.layout

    def test_a_crop_of_another_size_is_refused(self, extractor: Extractor) -> None:
        with pytest.raises(ValueError, match="100"):
            extractor.look(np.zeros((100, 100, 3), np.uint8))


class TestFaceMesh(ExtractorContract):
    @pytest.fixture
    def extractor(self, mesh_extractor: FaceMeshExtractor) -> Extractor:
        return mesh_extractor

    def test_bytes_are_those_of_the_features_room(
        self, extractor: Extractor, finder: FaceFinder, astronaut: np.ndarray
    ) -> None:
        """Stores and models made before there was an interface hold exactly these."""
        (face,) = finder.find(astronaut)
        for crop, seen in (
            (face.crop, extractor.look_at(astronaut, face)),
            (np.ascontiguousarray(face.crop[:, ::-1]), extractor.look_at(astronaut, face, mirrored=True)),
        ):
            output = FaceMesh().run(crop)
            maps = Network("face_mesh", taps=MAPS).run(crop[None] * np.float32(1 / 255))[2:]
            np.testing.assert_array_equal(seen.geometry, features.geometry(output.landmarks))
            np.testing.assert_array_equal(seen.columns, features.hypercolumns(maps, output.landmarks))
            assert seen.score == output.score
            assert seen.present

    def test_it_shows_the_same_face_mirrored(
        self, extractor: Extractor, finder: FaceFinder, hopper: np.ndarray
    ) -> None:
        (face,) = finder.find(hopper)
        twin = extractor.look_at(hopper, face, mirrored=True).landmarks[features.mirror()]
        twin[:, 0] = MESH_SIZE - twin[:, 0]
        assert np.linalg.norm(twin[:, :2] - face.mesh.landmarks[:, :2], axis=1).mean() < 3

    def test_a_wall_is_no_face(self, extractor: Extractor) -> None:
        assert not extractor.look(np.full((MESH_SIZE, MESH_SIZE, 3), 128, np.uint8)).present


@pytest.fixture(scope="session")
def fan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fan(tmp_path_factory.mktemp("fan"))


class TestFAN(ExtractorContract):
    @pytest.fixture
    def extractor(self, fan: Path) -> Extractor:
        return load(str(fan))

    def test_its_columns_are_the_maps_averages(
        self, extractor: Extractor, fan: Path, finder: FaceFinder, astronaut: np.ndarray
    ) -> None:
        (face,) = finder.find(astronaut)
        crop, _ = align(astronaut, face.landmarks, "fan256")
        _, (features,) = FAN256(fan).maps([crop])
        seen = extractor.look_at(astronaut, face)
        np.testing.assert_allclose(
            seen.columns.T.reshape(-1, 16, 16), features.reshape(-1, 16, 4, 16, 4).mean((2, 4)), atol=1e-5
        )
        np.testing.assert_array_equal(seen.geometry, geometry(seen.landmarks))
        whole = load(str(fan), grid=64).look(crop).columns
        np.testing.assert_array_equal(whole.T.reshape(features.shape), features)

    def test_its_layout_is_known_without_the_network(self, fan: Path) -> None:
        known = layout(str(fan), 8)
        assert known.inputs == {"geometry": (136,), "hypercolumns": (64, CONFIG.channels)}
        assert (known.extractor, known.template) == (NAME, "fan256")
        assert known.sha256 == hashlib.sha256(fan.read_bytes()).hexdigest()


def test_names(fan: Path, tmp_path: Path) -> None:
    assert layout("face_mesh") == load("face_mesh").layout == FACE_MESH
    with pytest.raises(UsageError, match=r"no extractor is called 'soup'; there are face_mesh"):
        load("soup")
    with pytest.raises(UsageError, match="64 × 64 map cannot be cut into 10 × 10 equal cells"):
        layout(str(fan), 10)
    copied = shutil.copy(fan, tmp_path / fan.name)
    with pytest.raises(WeightsError, match=r"fan_tiny\.random"):
        layout(copied)
    shutil.copy(card_beside(fan), tmp_path)
    Path(copied).write_bytes(fan.read_bytes()[:-1])
    with pytest.raises(WeightsError, match="not the extractor its card"):
        layout(copied)
