"""From heatmaps to landmarks, mirrors, crops for FANs, and a FAN's ONNX file."""

from __future__ import annotations

import numpy as np
import pytest
import skimage.data

from openau.faces import align, fan
from openau.faces.features import CANONICAL
from openau.faces.finder import FaceFinder
from openau.weights import store


def gaussians(centres: np.ndarray, sigma: float, side: int = 64) -> np.ndarray:
    """Heatmaps (1, K, side, side) with peaks of 1 at points (K, 2), cell centres at +0.5."""
    at = np.arange(side) + 0.5
    x, y = (np.exp(-((at - centres[:, axis, None]) ** 2) / (2 * sigma**2)) for axis in (0, 1))
    return (y[:, :, None] * x[:, None, :])[None].astype(np.float32)


@pytest.mark.parametrize(("sigma", "within"), [(1.0, 0.01), (1.5, 0.06), (1.75, 0.25)])
def test_local_decoding_finds_gaussians_between_cells(sigma: float, within: float) -> None:
    centres = np.random.default_rng(0).uniform(8, 56, (300, 2))
    found, peaks = fan.decode(gaussians(centres, sigma), size=256)
    assert np.abs(found[0] - centres * 4).max() < within
    assert (peaks <= 1).all()
    assert (peaks > 0.75).all()


def test_quarter_decoding_is_the_published_rule() -> None:
    heatmaps = np.zeros((1, 2, 64, 64), np.float32)
    heatmaps[0, 0, 10, 20], heatmaps[0, 0, 10, 21], heatmaps[0, 0, 9, 20] = 1, 0.5, 0.2
    heatmaps[0, 1, 0, 63] = 1  # at the rim nothing is moved
    found, _ = fan.decode(heatmaps, 256, "quarter")
    np.testing.assert_allclose(found[0], [(4 * (20.5 + 0.25), 4 * (10.5 - 0.25)), (4 * 63.5, 4 * 0.5)])
    centres = np.random.default_rng(1).uniform(8, 56, (300, 2))
    quarter, _ = fan.decode(gaussians(centres, 1.5), 256, "quarter")
    assert np.abs(quarter[0] - centres * 4).max() <= 1.0 + 1e-4  # a quarter of a cell


def test_decoding_at_the_rim_and_of_nothing() -> None:
    centres = np.array([(0.6, 63.2), (63.9, 0.1)])
    found, _ = fan.decode(gaussians(centres, 1.0), 256)
    assert np.abs(found[0] - centres * 4).max() < 4
    nothing, peaks = fan.decode(np.full((1, 1, 64, 64), -1, np.float32), 256)
    assert np.isfinite(nothing).all()
    assert (peaks < 0).all()
    with pytest.raises(ValueError, match="one of local, quarter"):
        fan.decode(np.zeros((1, 1, 4, 4), np.float32), 16, "mean")  # type: ignore[arg-type]


def test_the_mirror_undoes_itself_and_agrees_with_face_mesh() -> None:
    assert (fan.MIRROR[fan.MIRROR] == np.arange(68)).all()
    # On Face Mesh's symmetric head, the partner of each point lies at its mirror image.
    at = CANONICAL[fan.MESH_IDS, :3]
    np.testing.assert_allclose(at[fan.MIRROR] * [-1, 1, 1], at, atol=0.02 * np.ptp(CANONICAL[:, 0]))
    landmarks = np.random.default_rng(0).uniform(0, 256, (68, 2)).astype(np.float32)
    turned = fan.mirror_landmarks(landmarks, 256)
    assert turned[0, 0] == 256 - landmarks[16, 0]
    np.testing.assert_allclose(fan.mirror_landmarks(turned, 256), landmarks, atol=1e-4)


def test_landmarks_lie_where_their_names_say() -> None:
    x, y = CANONICAL[fan.MESH_IDS, 0], CANONICAL[fan.MESH_IDS, 1]
    assert (np.diff(x[:17]) > 0).all(), "the jaw runs from the subject's right to the left"
    assert y[:17].argmax() == 8, "its lowest point is the chin"
    assert y[17:27].max() < y[36:48].min()
    assert y[36:48].max() < y[48:].min()
    assert (y[49:54] < y[55:60].min()).all(), "upper lip above lower lip"
    assert len(set(fan.MESH_IDS)) == 68


def test_our_crop_is_face_mesh_s_square() -> None:
    points = CANONICAL * 300 + [400, 350, 0]
    ours, mesh = (align.TEMPLATES[name].fit(points) for name in ("fan256", "mesh192"))
    np.testing.assert_allclose(ours, mesh * (256 / 192), atol=1e-9)


@pytest.mark.parametrize("degrees", [0, 25])
def test_the_wide_crop_is_the_published_one(degrees: float) -> None:
    upright = CANONICAL[:, :2] * 300
    box = upright[list(align.FACE_OUTLINE)]
    (left, top), (right, bottom) = box.min(0), box.max(0)
    # face-alignment: scale = (w + h) / 195, a side of 200 · scale pixels, the centre 0.12 h above the box's.
    side = 200 * (right - left + bottom - top) / 195
    centre = np.array([(left + right) / 2, (top + bottom) / 2 - 0.12 * (bottom - top)])
    turn = np.deg2rad(degrees)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = align.TEMPLATES["fan256_wide"].fit(upright @ rotation.T)
    corners = centre + side / 2 * np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)])
    expected = np.array([(0, 0), (256, 0), (256, 256), (0, 256)])
    np.testing.assert_allclose(align.apply(matrix, corners @ rotation.T), expected, atol=1e-3)


@pytest.fixture(scope="module")
def shipped() -> fan.FAN256:
    return fan.FAN256()


def test_the_shipped_network_is_small(shipped: fan.FAN256) -> None:
    card, file = store.resolve_extractor(fan.DEFAULT_FAN)
    assert file.stat().st_size == card.asset.size < 4_000_000
    assert (card.points, card.size, card.template) == (68, 256, "fan256")
    assert any(what.startswith("NME of 68 landmarks, held-out") for what in card.measured)
    assert any("photos" in what for what in card.measured)


@pytest.mark.weights
def test_the_shipped_network_finds_a_real_face_and_its_mirror_image(shipped: fan.FAN256) -> None:
    image = skimage.data.astronaut()
    face = FaceFinder(max_faces=1).find(image)[0]
    crop, matrix = align.align(image, face.landmarks, shipped.card.template)
    mesh = align.apply(matrix, face.landmarks[fan.MESH_IDS, :2])
    eyes = np.linalg.norm(mesh[36] - mesh[45])
    found, mirrored = shipped.run_batch([crop, np.ascontiguousarray(crop[:, ::-1])])
    assert np.linalg.norm(found.landmarks - mesh, axis=1)[fan.COMPARABLE].mean() < 0.07 * eyes
    turned = fan.mirror_landmarks(mirrored.landmarks, 256)
    assert np.linalg.norm(found.landmarks - turned, axis=1).mean() < 0.03 * eyes
    assert found.score > 0.5
    quarter = fan.FAN256(decoding="quarter").run(crop)
    assert np.linalg.norm(quarter.landmarks - found.landmarks, axis=1).mean() < 2.5
    nothing = shipped.run(np.full((256, 256, 3), 90, np.uint8))
    assert nothing.score < found.score - 0.2
