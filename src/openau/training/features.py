"""Features of a frozen network on disk: each labelled picture is seen once, in several degraded copies and plainly, and never again.

A *feature store* is a folder:

    geometry.npy      (N, V + 1, G) float32     landmarks without pose (`openau.faces.extractors`)
    hypercolumns.npy  (N, V + 1, P, C) float16  features at P positions: under landmarks, or the cells of a grid
    flipped.npy       (N, V + 1) bool           this view is a mirror image: left and right labels change places
    ok.npy            (N, V + 1) bool           a face was found
    done.npy          (N,) bool                 row is finished (a stopped run goes on from here)
    rows.parquet      the manifest's rows, in the same order
    meta.json         V, G, P, C, the extractor and its file's SHA-256, its positions (landmark ids, or the side of the grid), seed,
                      manifest, whether there is a plain view, and the template if the pictures are crops

The first V views are for training: 0 is a mild copy, the others are heavy ones (`openau.training.augment`), and their crops are jittered,
since detection's is never perfect. The last is the *plain* view, on which faces are judged: the crop that detection takes, as it is. A
store without it (no `plain` in meta.json, V views in all) can still be read.
In prepared crops (template `crop320`) the face is where the template puts it; in any other picture it is looked for.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, OutputError, UsageError
from openau.faces.align import MESH_IN_CROP, MESH_SIZE, TEMPLATES, Matrix, compose, warp
from openau.faces.extractors import DEFAULT_GRID, FACE_MESH, Extracted, Extractor, Layout, layout, load
from openau.workers import run

if TYPE_CHECKING:
    import pyarrow as pa

    from openau.faces.finder import FaceFinder, LocatedFace

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]

VIEWS = 3
_CHUNK = 48
_ARRAYS = ("geometry", "hypercolumns", "flipped", "ok", "done")


@dataclass(frozen=True)
class FeatureStore:
    """An opened feature store; the arrays are read from disk as they are used.

    Attributes:
        geometry: (N, V, G) float32. hypercolumns: (N, V, P, C) float16. flipped, ok: (N, V) bool; these are the views for training.
        rows: the manifest's rows. meta: contents of `meta.json`.
        plain: the plain view alone, as a store with V = 1; None if this store has none.
    """

    folder: Path
    geometry: npt.NDArray[np.float32]
    hypercolumns: npt.NDArray[np.float16]
    flipped: npt.NDArray[np.bool_]
    ok: npt.NDArray[np.bool_]
    rows: pa.Table
    meta: dict[str, Any]
    plain: FeatureStore | None = None

    @property
    def manifests(self) -> tuple[Path, ...]:
        """The manifest it was made from, where that still lies beside it."""
        return (self.folder.parent / str(self.meta.get("manifest", "manifest.parquet")),)

    @classmethod
    def open(cls, folder: Path) -> FeatureStore:
        """Open a finished store.

        Raises:
            InputError: the folder is no feature store, or its making was interrupted.
        """
        import pyarrow.parquet as pq

        if not (folder / "meta.json").is_file():
            raise InputError(
                f"{folder}: not a feature store (no meta.json); make one with `openau train features MANIFEST -o {folder}`"
            )
        meta = _read_meta(folder / "meta.json")
        try:
            arrays = {name: np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False) for name in _ARRAYS}
            rows = pq.read_table(folder / "rows.parquet")
            Layout.from_meta(meta)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{folder}: this feature store is damaged ({error}); make it again") from None
        if not arrays["done"].all():
            missing = int((~arrays["done"]).sum())
            raise InputError(
                f"{folder}: {missing} of {len(arrays['done'])} pictures have no features yet; run the same command again"
            )
        views = {name: array for name, array in arrays.items() if name != "done"}
        if not meta.get("plain"):
            return cls._of(folder, rows, meta, views)
        plain = cls._of(folder, rows, meta, {name: array[:, -1:] for name, array in views.items()})
        return replace(cls._of(folder, rows, meta, {name: array[:, :-1] for name, array in views.items()}), plain=plain)

    @classmethod
    def _of(
        cls, folder: Path, rows: pa.Table, meta: dict[str, Any], views: dict[str, npt.NDArray[Any]]
    ) -> FeatureStore:
        flipped, ok = (np.array(views[name]) for name in ("flipped", "ok"))
        return cls(folder, views["geometry"], views["hypercolumns"], flipped, ok, rows, meta)

    def __len__(self) -> int:
        return len(self.flipped)


def build(
    manifest: Path, out: Path, *, views: int = VIEWS, seed: int = 0, workers: int | None = None, extractor: str = FACE_MESH.extractor,
    grid: int = DEFAULT_GRID,
) -> Iterator[int]:  # fmt: skip
    """Make (or finish) the feature store of a manifest; yields the number of rows finished since the last yield.

    The same seed gives the same features whatever the number of workers: every row has a generator of its own. A finished store takes
    over corrected labels of the same pictures.

    Args:
        manifest: a Parquet manifest (`openau.datasets.manifest`); rows without a picture are kept with `ok` false.
        out: folder of the store.
        views: degraded copies per picture, for training; the plain view comes on top.
        seed: of the degradations.
        workers: processes; default one per CPU.
        extractor: whose features (`openau.faces.extractors.load`).
        grid: cells of a row and a column, where the extractor gives a map.

    Raises:
        InputError: the manifest or a picture it names cannot be read.
        OutputError: the folder cannot be written, or a worker process was killed.
        UsageError: the folder holds a store made from something else, or there is no such extractor.
        WeightsError: a network's file cannot be had.
    """
    from openau.datasets.manifest import read_manifest, template_of

    table = read_manifest(manifest)
    count = table.num_rows
    template = template_of(table)
    meta = {
        "manifest": manifest.name, "rows": count, "views": views, "plain": True, "seed": seed, **layout(extractor, grid).to_meta(),
        **({} if template is None else {"template": template}),
    }  # fmt: skip
    try:
        out.mkdir(parents=True, exist_ok=True)
        _prepare(out, meta)
        _keep_rows(out, table)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    images = table.column("image").to_pylist()
    done = np.load(out / "done.npy", mmap_mode="r", allow_pickle=False)
    waiting = [row for row in range(count) if not done[row]]
    chunks = [waiting[start : start + _CHUNK] for start in range(0, len(waiting), _CHUNK)]
    if count - len(waiting):
        yield count - len(waiting)
    jobs = [
        (out, manifest.parent, [(row, images[row]) for row in chunk], seed, template, extractor, grid)
        for chunk in chunks
    ]
    yield from run(_extract, jobs, out, workers)


def _prepare(out: Path, meta: dict[str, Any]) -> None:
    """Lay out empty arrays, or check that the ones there belong to this manifest."""
    path = out / "meta.json"
    if path.exists():
        before = _read_meta(path)
        other = [key for key in {**meta, **before} if before.get(key) != meta.get(key)]
        if other:
            raise UsageError(
                f"{out}: holds a feature store of another manifest or with other settings ({', '.join(other)}); choose another folder"
            )
        return
    count, views = meta["rows"], meta["views"] + 1
    shapes: dict[str, tuple[tuple[int, ...], type]] = {
        "geometry": ((count, views, meta["G"]), np.float32),
        "hypercolumns": ((count, views, meta["P"], meta["C"]), np.float16),
        "flipped": ((count, views), np.bool_),
        "ok": ((count, views), np.bool_),
        "done": ((count,), np.bool_),
    }
    for name, (shape, dtype) in shapes.items():
        np.lib.format.open_memmap(out / f"{name}.npy", mode="w+", dtype=dtype, shape=shape).flush()
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(meta))
    partial.replace(path)


def _keep_rows(out: Path, table: pa.Table) -> None:
    """Store the manifest's rows. Features do not depend on labels, so a manifest whose labels were corrected brings them up to date."""
    import pyarrow.parquet as pq

    path = out / "rows.parquet"
    if (
        path.exists()
        and pq.read_table(path, columns=["image"]).column("image").to_pylist() != table["image"].to_pylist()
    ):
        raise UsageError(f"{out}: holds the features of other pictures; choose another folder")
    partial = path.with_name(path.name + ".partial")
    pq.write_table(table, partial)
    partial.replace(path)


def is_on_grid(folder: Path) -> bool:
    """Whether this is a feature store whose features lie on a grid."""
    path = folder / "meta.json"
    return path.is_file() and "grid" in _read_meta(path)


def _read_meta(path: Path) -> dict[str, Any]:
    """Contents of `meta.json`; a store that names no extractor was made when Face Mesh was the only one."""
    try:
        return {"extractor": FACE_MESH.to_meta()["extractor"], **json.loads(path.read_text())}
    except (OSError, ValueError, TypeError):
        raise InputError(
            f"{path}: cannot be read or is damaged; make the feature store again in another folder"
        ) from None


_worker: dict[str, Any] = {}


def _networks(name: str, grid: int) -> tuple[FaceFinder, Extractor]:
    """The worker process's face finder and extractor, loaded once."""
    if "finder" not in _worker:
        import cv2

        from openau.faces.finder import FaceFinder

        cv2.setNumThreads(1)
        _worker["finder"] = FaceFinder(max_faces=1)
    wanted = (layout(name, grid), name, grid)
    if _worker.get("wanted") != wanted:
        _worker["extractor"], _worker["wanted"] = load(name, grid, _worker["finder"].mesh), wanted
    return _worker["finder"], _worker["extractor"]


def _extract(
    out: Path, root: Path, rows: list[tuple[int, str | None]], seed: int, template: str | None, extractor_name: str, grid: int
) -> int:  # fmt: skip
    """Worker: features of some rows, written into the store's arrays."""
    from openau.media import read_image

    finder, extractor = _networks(extractor_name, grid)
    arrays = {name: np.load(out / f"{name}.npy", mmap_mode="r+", allow_pickle=False) for name in _ARRAYS}
    degraded = arrays["flipped"].shape[1] - 1
    for row, name in rows:
        face = locate(image := read_image(root / name), template, finder) if name is not None else None
        if face is not None:
            rngs = [np.random.default_rng([seed, row, number]) for number in range(degraded)]
            views = [see(image, face.landmarks, number, extractor, rng) for number, rng in enumerate(rngs)]
            for number, (seen, flipped) in enumerate([*views, (extractor.look_at(image, face), False)]):
                arrays["geometry"][row, number] = seen.geometry
                arrays["hypercolumns"][row, number] = seen.columns
                arrays["flipped"][row, number] = flipped
                arrays["ok"][row, number] = seen.present
        arrays["done"][row] = True
    for array in arrays.values():
        array.flush()
    return len(rows)


def locate(image: Image, template: str | None, finder: FaceFinder) -> LocatedFace | None:
    """The face of a picture, or None: in a `crop320` where the template puts it, else the largest that is found.

    Args:
        image: (H, W, 3) RGB.
        template: of which the picture is a crop; None for a whole picture.
        finder: finds it.
    """
    if template == "crop320":
        return finder.find_in(image, MESH_IN_CROP)
    return next(iter(finder.find(image)), None)


def see(
    image: Image, landmarks: Floats, number: int, extractor: Extractor, rng: np.random.Generator
) -> tuple[Extracted, bool]:
    """Degrade a picture, crop it with jitter, mirror it half of the time, and let the extractor look.

    Args:
        image: (H, W, 3) RGB.
        landmarks: (468, 3) where the face is, image pixels.
        number: of the view; 0 is mild.
        extractor: looks at its own template's crop.
        rng: generator of this view.

    Returns:
        What was seen, and whether the crop was mirrored.
    """
    from openau.training.augment import view

    degraded = view(number)(image, landmarks, rng)
    template = TEMPLATES[extractor.layout.template]
    crop = warp(degraded, jitter(template.fit(landmarks), rng, template.size), template.size)
    flipped = bool(rng.random() < 0.5)
    if flipped:
        crop = np.ascontiguousarray(crop[:, ::-1])
    return extractor.look(crop), flipped


def jitter(matrix: Matrix, rng: np.random.Generator, size: int = MESH_SIZE) -> Matrix:
    """Disturb a crop of `size` pixels about its centre: size 0.92–1.1, shift 1.5 % (s.d.) of its side, turn 2° (s.d.)."""
    scale = 1 / rng.uniform(0.92, 1.1)
    angle = np.radians(rng.normal(0, 2))
    shift = rng.normal(0, 0.015, 2) * size
    turn = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    centre = np.full(2, size / 2)
    moved = np.concatenate([turn, (centre + shift - turn @ centre)[:, None]], axis=1)
    return compose(moved, matrix)
