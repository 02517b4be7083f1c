"""The detector and the mesh on real photographs."""

from __future__ import annotations

import time

import cv2
import numpy as np
import pytest
import skimage.data

from openau.faces import FaceDetector, FaceFinder, FaceMesh
from openau.faces.align import MESH_SIZE, align, apply, invert, region_from_landmarks, warp
from openau.faces.detect import Detection, Window, overlap, suppress, windows
from openau.faces.mesh import MAPS
from openau.faces.network import Network, with_taps
from openau.weights import store

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def detector() -> FaceDetector:
    return FaceDetector()


def paste(background: np.ndarray, picture: np.ndarray, x: int, y: int) -> np.ndarray:
    image = background.copy()
    image[y : y + picture.shape[0], x : x + picture.shape[1]] = picture
    return image


def scaled(picture: np.ndarray, factor: float) -> np.ndarray:
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    return cv2.resize(picture, None, fx=factor, fy=factor, interpolation=method)


# --- detector -----------------------------------------------------------------------------------------------------------------


def test_the_keypoints_lie_where_the_mesh_sees_the_features(
    detector: FaceDetector, finder: FaceFinder, astronaut: np.ndarray
) -> None:
    (found,) = detector.detect(astronaut)
    points = finder.find(astronaut)[0].landmarks[:, :2]
    expected = {
        0: points[[33, 133]].mean(axis=0),  # the subject's right eye
        1: points[[263, 362]].mean(axis=0),  # left eye
        2: points[4],  # nose tip
        3: points[[13, 14]].mean(axis=0),  # mouth
    }
    size = found.box[2:].max()
    for index, place in expected.items():
        assert np.linalg.norm(found.keypoints[index] - place) < 0.08 * size
    assert found.keypoints[4, 0] < found.keypoints[0, 0] < found.keypoints[1, 0] < found.keypoints[5, 0]  # ears outside
    assert found.score > 0.8


@pytest.mark.parametrize("shape", [(1, 1), (1, 700), (3, 2), (700, 5), (191, 193)])
def test_a_picture_without_a_face_is_an_empty_list(finder: FaceFinder, shape: tuple[int, int]) -> None:
    assert finder.find(np.full((*shape, 3), 130, np.uint8)) == []


@pytest.mark.parametrize("name", ["chelsea", "coffee", "rocket", "hubble_deep_field"])
def test_photos_of_other_things_hold_no_face(finder: FaceFinder, name: str) -> None:
    assert finder.find(getattr(skimage.data, name)()) == []


@pytest.mark.parametrize("size", [40, 55, 120])
def test_small_faces_in_a_large_picture(
    finder: FaceFinder, astronaut: np.ndarray, hopper: np.ndarray, size: int
) -> None:
    background = cv2.resize(skimage.data.coffee(), (1920, 1080))
    rng = np.random.default_rng(size)
    for portrait in (astronaut, hopper):
        (whole,) = finder.find(portrait)
        factor = size / float(whole.box[2:].max())
        small = scaled(portrait, factor)
        x, y = int(rng.integers(0, 1920 - small.shape[1])), int(rng.integers(0, 1080 - small.shape[0]))
        (face,) = finder.find(paste(background, small, x, y))
        assert overlap(face.box, whole.box * factor + [x, y, 0, 0]) > 0.8


def test_one_look_would_miss_them(detector: FaceDetector, astronaut: np.ndarray) -> None:
    """What the tiles are for."""
    background = cv2.resize(skimage.data.coffee(), (1920, 1080))
    image = paste(background, scaled(astronaut, 0.4), 900, 500)
    assert detector.look(image, Window(0, 0, 1920, 1080)) == []
    assert len(detector.detect(image)) == 1


@pytest.mark.parametrize("share", [1.0, 0.85, 0.7])
def test_a_face_that_fills_the_frame(finder: FaceFinder, hopper: np.ndarray, share: float) -> None:
    (whole,) = finder.find(hopper)
    x, y, width, height = whole.box
    left, top = x + width * (1 - share) / 2, y + height * (1 - share) / 2
    x0, y0 = int(left), int(top)
    closeup = np.ascontiguousarray(hopper[y0 : int(top + height * share), x0 : int(left + width * share)])
    (face,) = finder.find(closeup)
    assert overlap(np.add(face.box, [x0, y0, 0, 0]), whole.box) > 0.75


def test_windows_cover_every_place_with_every_size_of_face() -> None:
    """A face of any size and place is whole, and at least 14 input pixels large, in one window."""
    rng = np.random.default_rng(0)
    for width, height in ((300, 200), (640, 480), (1280, 720), (1080, 1920), (4000, 3000)):
        views = windows(width, height, 40)
        for _ in range(300):
            size = 40 * (min(width, height) / 40) ** rng.random()
            x, y = rng.random() * (width - size), rng.random() * (height - size)
            assert any(
                v.x <= x
                and v.y <= y
                and x + size <= v.x + v.width
                and y + size <= v.y + v.height
                and size * 192 / max(v.width, v.height) >= 13.5
                for v in views
            ), (width, height, size, x, y)


def test_tiles_are_limited_and_stay_inside() -> None:
    views = windows(16000, 12000, 40, max_tiles=100)
    assert 1 < len(views) <= 101
    assert all(v.x >= 0 and v.y >= 0 and v.x + v.width <= 16000 and v.y + v.height <= 12000 for v in views)
    assert windows(400, 300, 40) == [Window(0, 0, 400, 300)]
    assert len(windows(1920, 1080, 150)) == 1  # large faces need no tiles


def test_suppression_keeps_the_best_of_each_face() -> None:
    def at(score: float, *box: float) -> Detection:
        return Detection(score, np.array(box, np.float32), np.zeros((6, 2), np.float32))

    best, shifted, inside, other = (
        at(0.9, 0, 0, 100, 100),
        at(0.8, 20, 0, 100, 100),
        at(0.7, 30, 30, 30, 30),
        at(0.5, 95, 0, 90, 90),
    )
    assert suppress([other, inside, shifted, best]) == [best, other]


# --- mesh ---------------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def crop(finder: FaceFinder, astronaut: np.ndarray) -> np.ndarray:
    (face,) = finder.find(astronaut)
    return warp(astronaut, face.matrix, MESH_SIZE)


def test_tapping_changes_nothing_and_costs_little(crop: np.ndarray) -> None:
    plain, tapped = Network("face_mesh"), Network("face_mesh", taps=MAPS)
    batch = (crop[None] / 255).astype(np.float32)
    without, outputs = plain.run(batch), tapped.run(batch)
    assert [o.shape for o in outputs[2:]] == list(MAPS)
    for a, b in zip(without, outputs, strict=False):
        np.testing.assert_array_equal(a, b)
    times: dict[Network, list[float]] = {plain: [], tapped: []}
    for _ in range(60):
        for network, list_ in times.items():
            start = time.perf_counter()
            network.run(batch)
            list_.append(time.perf_counter() - start)
    assert min(times[tapped]) < 1.5 * min(times[plain])  # measured: 1.05


def test_the_taps_are_the_last_of_their_resolution() -> None:
    """Each tapped map feeds the layer that halves the resolution, read from the graph itself."""
    from ai_edge_litert import schema_py_generated as schema

    content = store.path("face_mesh").read_bytes()
    graph = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(with_taps(content, MAPS)), 0)).subgraphs[0]
    assert len(graph.outputs) == 2 + len(MAPS)
    for output, shape in zip(graph.outputs[2:], MAPS, strict=True):
        assert tuple(graph.tensors[output].shape)[1:] == shape
        readers = [op for op in graph.operators if output in op.inputs]
        sizes = {int(graph.tensors[op.outputs[0]].shape[1]) for op in readers}
        assert sizes == {shape[0] // 2}  # nothing else reads it at its own resolution


def test_an_unknown_shape_cannot_be_tapped() -> None:
    with pytest.raises(KeyError):
        with_taps(store.path("face_mesh").read_bytes(), [(7, 7, 7)])


def test_outputs_stay_when_the_network_runs_again(crop: np.ndarray) -> None:
    mesh = FaceMesh()
    first = mesh.run(crop)
    kept = [first.landmarks.copy(), first.columns.copy()]
    mesh.run(np.ascontiguousarray(crop[::-1]))
    for now, before in zip([first.landmarks, first.columns], kept, strict=True):
        np.testing.assert_array_equal(now, before)
        assert now.dtype == np.float32
    again = mesh.run(crop)
    np.testing.assert_array_equal(again.landmarks, first.landmarks)


def test_presence_tells_faces_from_other_things(crop: np.ndarray) -> None:
    mesh = FaceMesh()
    assert mesh.run(crop).score > 0.99
    noise = np.random.default_rng(0).integers(0, 255, crop.shape, np.uint8)
    for other in (np.zeros_like(crop), noise, cv2.resize(skimage.data.coffee(), (192, 192))):
        assert mesh.run(other).score < 0.5


def test_the_mesh_refuses_other_sizes() -> None:
    with pytest.raises(ValueError, match="192"):
        FaceMesh().run(np.zeros((224, 224, 3), np.uint8))


# --- finder -------------------------------------------------------------------------------------------------------------------


def test_faces_come_from_the_largest_and_each_once(
    finder: FaceFinder, astronaut: np.ndarray, hopper: np.ndarray
) -> None:
    image = np.zeros((600, 1224, 3), np.uint8)
    image[:512, :512], image[:, 712:] = astronaut, hopper
    large, small = finder.find(image)
    assert large.box[0] > 712
    assert small.box[0] < 512
    (only,) = FaceFinder(max_faces=1).find(image)
    np.testing.assert_array_equal(only.box, large.box)


def test_a_located_face_is_consistent(finder: FaceFinder, hopper: np.ndarray) -> None:
    (face,) = finder.find(hopper)
    np.testing.assert_allclose(apply(face.matrix, face.landmarks), face.mesh.landmarks, atol=1e-2)
    np.testing.assert_allclose(face.box[:2], face.landmarks[:, :2].min(axis=0))
    np.testing.assert_allclose(face.box[2:], np.ptp(face.landmarks[:, :2], axis=0), rtol=1e-5)
    # The final crop is the one its own landmarks ask for, nearly.
    again = region_from_landmarks(face.landmarks) @ np.vstack([invert(face.matrix), [0, 0, 1]])
    assert np.abs(again[:, :2] - np.eye(2)).max() < 0.05
    assert np.abs(again @ [96, 96, 1] - 96).max() < 4


def test_the_scale_of_the_picture_does_not_matter(finder: FaceFinder, astronaut: np.ndarray) -> None:
    (face,) = finder.find(astronaut)
    for factor in (0.5, 2.0, 5.5):
        (other,) = finder.find(scaled(astronaut, factor))
        error = np.linalg.norm(other.landmarks[:, :2] / factor - face.landmarks[:, :2], axis=1)
        assert error.mean() < 0.02 * face.box[2]


def test_refine_follows_small_and_larger_moves(finder: FaceFinder, astronaut: np.ndarray) -> None:
    (face,) = finder.find(astronaut)
    for shift in ((0, 0), (6, -4), (35, 20)):
        moved = np.roll(astronaut, (shift[1], shift[0]), axis=(0, 1))
        followed = finder.refine(moved, face.landmarks)
        assert followed is not None
        error = np.linalg.norm(followed.landmarks[:, :2] - shift - face.landmarks[:, :2], axis=1)
        assert error.mean() < 0.02 * face.box[2]
    assert finder.refine(np.zeros_like(astronaut), face.landmarks) is None


def test_mesh192_gives_the_mesh_its_best_view(finder: FaceFinder, astronaut: np.ndarray) -> None:
    """A crop of the right template keeps the landmarks where a crop of half its margin moves them."""
    (face,) = finder.find(astronaut)
    crop, matrix = align(astronaut, face.landmarks, "mesh192")
    back = apply(invert(matrix), FaceMesh().run(crop).landmarks)
    assert np.linalg.norm(back[:, :2] - face.landmarks[:, :2], axis=1).mean() < 0.01 * face.box[2]
