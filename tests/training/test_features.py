"""Feature stores made of real pictures: shapes, the same bytes whatever the workers, mirror images, resuming, refusals."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pytest
from skimage import data

from openau.datasets.manifest import TEMPLATE_KEY, write_manifest
from openau.errors import InputError, UsageError
from openau.faces import features
from openau.faces.align import MESH_SIZE, apply, invert
from openau.faces.extractors import FaceMeshExtractor
from openau.faces.finder import FaceFinder
from openau.media import read_image
from openau.training import features as stores
from openau.training.features import FeatureStore, build, jitter
from openau.training.joined import judged

VIEWS = 3
FACES = 4
"""Rows with a face come first; then a wall, then a row without a picture."""


def lopsided(image: np.ndarray) -> np.ndarray:
    """The astronaut with her left brow and lip corner pulled up and her right lip corner down, so that a mirror image shows."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]].astype(np.float32)
    shift = np.zeros_like(rows)
    for x, y, up in ((247, 96, 6.5), (243, 141, 6.5), (211, 147, -6.5)):
        shift += up * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 15.0**2))
    return cv2.remap(image, columns, rows + shift, cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("faces")
    face = lopsided(data.astronaut())[:300, 60:420]
    pictures = {
        "plain": face,
        "dark": (0.6 * face).astype(np.uint8),
        "large": cv2.resize(face, None, fx=1.5, fy=1.5),
        "grey": np.repeat(cv2.cvtColor(face, cv2.COLOR_RGB2GRAY)[..., None], 3, axis=2),
        "wall": np.full((120, 160, 3), 128, np.uint8),
    }
    for name, picture in pictures.items():
        cv2.imwrite(str(folder / f"{name}.png"), np.ascontiguousarray(picture[..., ::-1]))
    rows = {
        "image": [*(f"{name}.png" for name in pictures), None],
        "subject": ["a", "a", "b", "b", "c", "c"],
        "AU12": pa.array([1, 1, 1, 1, None, 0], pa.int8()),
    }
    write_manifest(pa.table(rows), folder / "manifest.parquet")
    return folder / "manifest.parquet"


@pytest.fixture(scope="module")
def store(manifest: Path, tmp_path_factory: pytest.TempPathFactory) -> FeatureStore:
    out = tmp_path_factory.mktemp("stores") / "one"
    assert sum(build(manifest, out, views=VIEWS, seed=5, workers=1)) == 6
    return FeatureStore.open(out)


def seen_undisturbed() -> np.ndarray:
    """Geometry (G,) the finder sees in the picture the variants are made of."""
    image = np.ascontiguousarray(lopsided(data.astronaut())[:300, 60:420])
    return features.geometry(FaceFinder(max_faces=1).find(image)[0].landmarks)


def arrays(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.glob("*.npy")}


@pytest.mark.weights
def test_shapes_rows_and_finite_values(store: FeatureStore) -> None:
    assert store.geometry.shape == (6, VIEWS, features.GEOMETRY_SIZE)
    assert store.hypercolumns.shape == (6, VIEWS, len(features.POINTS), features.CHANNELS)
    assert (store.geometry.dtype, store.hypercolumns.dtype) == (np.float32, np.float16)
    assert store.rows.column("AU12").to_pylist() == [1, 1, 1, 1, None, 0]
    assert store.meta["points"] == features.POINTS.tolist()
    assert np.isfinite(store.geometry).all()
    assert np.isfinite(np.asarray(store.hypercolumns, np.float32)).all()


@pytest.mark.weights
def test_only_pictures_with_a_face_are_ok(store: FeatureStore) -> None:
    assert store.ok[:FACES].all()
    assert not store.ok[FACES:].any()
    assert not np.asarray(store.geometry[FACES:]).any()


@pytest.mark.weights
def test_geometry_is_that_of_the_face(store: FeatureStore) -> None:
    """Each mild view lies nearer to the geometry the finder sees in the undisturbed picture than to the neutral face."""
    seen = seen_undisturbed()
    neutral = features.geometry(features.CANONICAL)
    for row in np.flatnonzero(~store.flipped[:FACES, 0]):
        view = store.geometry[row, 0]
        assert np.abs(view - seen).mean() < 0.5 * np.abs(view - neutral).mean()


@pytest.mark.weights
def test_flipped_views_show_the_mirror_image(store: FeatureStore) -> None:
    """Mirroring a flipped view's points brings them nearer to the face as it is; an unflipped view's, further away."""
    count = len(features.POINTS)
    twins = [features.POINTS.tolist().index(point) for point in features.mirror()[features.POINTS]]
    truth = seen_undisturbed()[: 3 * count].reshape(count, 3)
    flipped = store.flipped[:FACES]
    assert 0 < flipped.sum() < flipped.size
    points = np.asarray(store.geometry[:FACES, :, : 3 * count]).reshape(FACES, VIEWS, count, 3)
    mirrored = points[:, :, twins] * np.float32([-1, 1, 1])
    as_seen, as_mirrored = (np.abs(view - truth).mean(axis=(2, 3)) for view in (points, mirrored))
    np.testing.assert_array_equal(as_mirrored < as_seen, flipped)


@pytest.mark.weights
def test_the_plain_view_is_what_detection_reads(store: FeatureStore, manifest: Path) -> None:
    """Independent of the store's code: the detector's own reading of the same files, to 16 bits; and it is no training view."""
    plain = store.plain
    assert plain is not None
    assert plain.plain is None
    assert plain.geometry.shape == (6, 1, features.GEOMETRY_SIZE)
    assert plain.ok[:, 0].tolist() == [True] * FACES + [False] * 2
    assert not plain.flipped.any()
    assert plain.rows.equals(store.rows)
    assert store.ok.shape == store.flipped.shape == (6, VIEWS)
    finder = FaceFinder(max_faces=1)
    for row in range(FACES):
        mesh = finder.find(read_image(manifest.parent / store.rows["image"][row].as_py()))[0].mesh
        np.testing.assert_allclose(plain.geometry[row, 0], features.geometry(mesh.landmarks), atol=1e-6)
        np.testing.assert_allclose(plain.hypercolumns[row, 0], mesh.columns, rtol=1e-3, atol=1e-3)


@pytest.mark.weights
def test_every_view_has_a_generator_of_its_own(store: FeatureStore, manifest: Path, tmp_path: Path) -> None:
    """More views, or the plain one after them, leave the bytes of those before as they are."""
    sum(build(manifest, tmp_path / "fewer", views=1, seed=5, workers=1))
    fewer = FeatureStore.open(tmp_path / "fewer")
    for name in ("geometry", "hypercolumns"):
        np.testing.assert_array_equal(getattr(fewer, name)[:, 0], getattr(store, name)[:, 0])
        np.testing.assert_array_equal(getattr(fewer.plain, name), getattr(store.plain, name))
    extractor = FaceMeshExtractor()
    face = stores.locate(read_image(manifest.parent / "plain.png"), None, FaceFinder(max_faces=1))
    again, _ = stores.see(
        read_image(manifest.parent / "plain.png"), face.landmarks, 2, extractor, np.random.default_rng([5, 0, 2])
    )
    np.testing.assert_array_equal(again.geometry, store.geometry[0, 2])


@pytest.mark.weights
def test_two_workers_give_the_bytes_of_one(
    store: FeatureStore, manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stores, "_CHUNK", 2)
    assert sum(build(manifest, tmp_path / "two", views=VIEWS, seed=5, workers=2)) == 6
    assert arrays(tmp_path / "two") == arrays(store.folder)


@pytest.mark.weights
def test_another_seed_disturbs_otherwise(store: FeatureStore, manifest: Path, tmp_path: Path) -> None:
    assert sum(build(manifest, tmp_path / "other", views=1, seed=6, workers=1)) == 6
    other = FeatureStore.open(tmp_path / "other")
    gap = np.abs(other.geometry[:FACES, 0] - store.geometry[:FACES, 0]).mean(axis=1)
    assert (gap > 1e-4).all()


@pytest.mark.weights
def test_a_stopped_run_goes_on_to_the_same_bytes(store: FeatureStore, manifest: Path, tmp_path: Path) -> None:
    out = shutil.copytree(store.folder, tmp_path / "stopped")
    for name in ("geometry", "hypercolumns", "flipped", "ok", "done"):
        array = np.load(out / f"{name}.npy", mmap_mode="r+")
        array[[1, 4]] = 0
        array.flush()
    with pytest.raises(InputError, match="2 of 6 pictures have no features yet"):
        FeatureStore.open(out)
    assert list(build(manifest, out, views=VIEWS, seed=5, workers=1)) == [4, 2]
    assert arrays(out) == arrays(store.folder)


@pytest.mark.weights
def test_a_store_of_something_else_is_left_alone(store: FeatureStore, manifest: Path, tmp_path: Path) -> None:
    before = arrays(store.folder)
    for views, seed in ((VIEWS, 6), (1, 5)):
        with pytest.raises(UsageError, match="another manifest or with other settings"):
            next(build(manifest, store.folder, views=views, seed=seed, workers=1))
    shorter = tmp_path / "manifest.parquet"
    write_manifest(pa.table({"image": ["plain.png"], "subject": ["a"], "AU12": [1]}), shorter)
    with pytest.raises(UsageError, match="another manifest"):
        next(build(shorter, store.folder, views=VIEWS, seed=5, workers=1))
    assert arrays(store.folder) == before


@pytest.mark.weights
def test_corrected_labels_are_taken_over_and_other_pictures_refused(
    store: FeatureStore, manifest: Path, tmp_path: Path
) -> None:
    out = shutil.copytree(store.folder, tmp_path / "store")
    rows, place = store.rows, store.rows.column_names.index("AU12")
    corrected = rows.set_column(place, "AU12", pa.array([0, 1, 1, 1, None, None], pa.int8()))
    write_manifest(corrected, tmp_path / "manifest.parquet")
    assert sum(build(tmp_path / "manifest.parquet", out, views=VIEWS, seed=5, workers=1)) == 6
    assert FeatureStore.open(out).rows.column("AU12").to_pylist() == [0, 1, 1, 1, None, None]
    assert arrays(out) == arrays(store.folder)
    write_manifest(rows.take([1, 0, 2, 3, 4, 5]), tmp_path / "manifest.parquet")
    with pytest.raises(UsageError, match="features of other pictures"):
        next(build(tmp_path / "manifest.parquet", out, views=VIEWS, seed=5, workers=1))


@pytest.mark.weights
def test_a_missing_picture_is_named(tmp_path: Path) -> None:
    write_manifest(pa.table({"image": ["gone.png"], "subject": ["a"], "AU12": [1]}), tmp_path / "manifest.parquet")
    with pytest.raises(InputError, match=r"gone\.png"):
        list(build(tmp_path / "manifest.parquet", tmp_path / "out", views=1, workers=1))


@pytest.mark.weights
def test_a_store_without_a_plain_view_can_be_read_but_not_gone_on_with(
    store: FeatureStore, manifest: Path, tmp_path: Path
) -> None:
    old = shutil.copytree(store.folder, tmp_path / "old")
    for name in ("geometry", "hypercolumns", "flipped", "ok"):
        np.save(old / f"{name}.npy", np.load(store.folder / f"{name}.npy")[:, :VIEWS])
    meta = json.loads((old / "meta.json").read_text())
    del meta["plain"]
    (old / "meta.json").write_text(json.dumps(meta))
    opened = FeatureStore.open(old)
    assert opened.plain is None
    assert judged(opened) is opened
    assert judged(store) is store.plain
    np.testing.assert_array_equal(opened.geometry, store.geometry)
    with pytest.raises(UsageError, match=r"other settings \(plain\)"):
        next(build(manifest, old, views=VIEWS, seed=5, workers=1))


def test_what_is_no_store_or_a_damaged_one_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"not a feature store \(no meta\.json\)"):
        FeatureStore.open(tmp_path)
    (tmp_path / "meta.json").write_text("{}")
    with pytest.raises(InputError, match="damaged"):
        FeatureStore.open(tmp_path)
    (tmp_path / "meta.json").write_text("{")
    with pytest.raises(InputError, match=r"meta\.json: .*damaged"):
        FeatureStore.open(tmp_path)


def test_jitter_disturbs_about_the_centre_of_the_crop() -> None:
    """A crop far from the picture's origin stays where it is on average; its size and turn vary as the docstring says."""
    matrix = np.array([[0.5, 0.1, -400.0], [-0.1, 0.5, -300.0]])
    middle, right = np.array([[96.0, 96.0]]), np.array([[192.0, 96.0]])
    in_picture = apply(invert(matrix), np.concatenate([middle, right]))
    landed = np.stack([apply(jitter(matrix, np.random.default_rng(seed)), in_picture) for seed in range(2000)])
    centre = landed[:, 0] - middle
    assert np.abs(centre.mean(axis=0)).max() < 0.3
    assert centre.std(axis=0) == pytest.approx([0.015 * MESH_SIZE] * 2, rel=0.08)
    arm = (landed[:, 1] - landed[:, 0]) / 96
    size = np.hypot(arm[:, 0], arm[:, 1])
    assert size.min() == pytest.approx(1 / 1.1, abs=0.005)
    assert size.max() == pytest.approx(1 / 0.92, abs=0.005)
    assert np.degrees(np.arctan2(arm[:, 1], arm[:, 0])).std() == pytest.approx(2, rel=0.08)


@pytest.mark.weights
def test_prepared_crops_are_read_where_their_template_puts_the_face(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a detector: the same face as in the whole picture; a crop without one is not ok. The store says what its pictures are."""
    from openau.faces.align import align
    from openau.faces.detect import FaceDetector

    image = np.ascontiguousarray(lopsided(data.astronaut())[:300, 60:420])
    finder, undisturbed = FaceFinder(max_faces=1), seen_undisturbed()
    crop, _ = align(image, finder.find(image)[0].landmarks, "crop320")
    empty = np.random.default_rng(0).integers(0, 256, (320, 320, 3), np.uint8)
    for name, picture in (("face", crop), ("empty", empty)):
        cv2.imwrite(str(tmp_path / f"{name}.jpg"), picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])
    rows = pa.table({"image": ["face.jpg", "empty.jpg"], "subject": ["a", "b"], "AU12": pa.array([1, 0], pa.int8())})
    write_manifest(rows.replace_schema_metadata({TEMPLATE_KEY: "crop320"}), tmp_path / "manifest.parquet")
    sum(build(tmp_path / "manifest.parquet", tmp_path / "out", views=1, seed=5, workers=1))
    store = FeatureStore.open(tmp_path / "out")
    assert store.meta["template"] == "crop320"
    assert store.ok[:, 0].tolist() == [True, False]

    def never(*_: object) -> None:
        raise AssertionError("a prepared crop was searched")

    monkeypatch.setattr(FaceDetector, "look", never)
    monkeypatch.setattr(FaceDetector, "scan", never)
    found = stores.locate(crop, "crop320", finder)
    assert found is not None
    assert stores.locate(empty, "crop320", finder) is None
    again, flipped = stores.see(crop, found.landmarks, 0, FaceMeshExtractor(), np.random.default_rng([5, 0, 0]))
    assert flipped == store.flipped[0, 0]
    assert (
        np.abs(again.geometry - store.geometry[0, 0]).mean()
        < 0.1 * np.abs(again.geometry - features.geometry(features.CANONICAL)).mean()
    )
    np.testing.assert_allclose(features.geometry(found.landmarks), undisturbed, atol=0.04)
