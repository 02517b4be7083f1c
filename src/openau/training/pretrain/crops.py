"""Crops of faces on disk: each picture is decoded once, and batches are cut from what is kept.

A *crop cache* is a folder:

    crops.npy    (N, M, M, 3) uint8  faces aligned as `face224`, at S pixels, with a rim around, so that they can be turned and shifted
    state.npy    (N,) uint8          0 waiting, 1 there, 2 no face or no readable picture (a stopped run goes on from here)
    meta.json    S, M, where the pictures come from, and a fingerprint of their names and alignment

Pictures are those of a manifest (renders, prepared data sets), aligned by the points it names, or those of a folder, which are taken for
crops already: the largest square in the middle, resized. A row's mirror image, turn and colours depend on (seed, epoch, row) alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from openau.errors import InputError, UsageError
from openau.faces.align import FACE224, Image, Matrix, compose, similarity, warp
from openau.media import expand, read_image
from openau.outputs import make_folder, whole_file, writing
from openau.training.picture_recipes import Augmentation
from openau.training.pictures import Points, five_points_of, move, repaint, usable_rows
from openau.workers import run, step

if TYPE_CHECKING:
    import pyarrow as pa

WAITING, THERE, MISSING = 0, 1, 2
_CHUNK = 256
_BORDERS = (cv2.BORDER_CONSTANT, cv2.BORDER_REFLECT_101)
"""What lies outside a picture, for even and odd rows: black, as detection has it, and a reflection, which looks more like a photo."""


def rim(size: int) -> int:
    """Pixels kept around a crop of `size` pixels on each side: a fourteenth."""
    return round(size / 14)


class View(NamedTuple):
    """A varied crop.

    Attributes:
        pixels: (S, S, 3) uint8 RGB.
        matrix: (2, 3) from points of the kept crop (M pixels) to points of this one.
        mirrored: whether it is a mirror image.
    """

    pixels: Image
    matrix: Matrix
    mirrored: bool


@dataclass(frozen=True)
class Faces:
    """Where pictures of faces are.

    Attributes:
        source: manifest, or folder of crops.
        names: (N,) file names relative to the manifest's folder or to `source`; None for rows without a picture.
        rows: the manifest; None for a folder.
        points: (N, 5, 2) where faces are, pixels of the picture (see `five_points_of`); None for a folder.
    """

    source: Path
    names: tuple[str | None, ...]
    rows: pa.Table | None = None
    points: Points | None = None

    @classmethod
    def of(cls, data: Path) -> Faces:
        """Faces of a manifest, of a folder with a manifest.parquet, or of a folder of crops.

        Raises:
            InputError: there are none, or the manifest does not say where faces are.
        """
        manifest = data / "manifest.parquet" if data.is_dir() else data
        if manifest.is_file():
            from openau.datasets.manifest import read_manifest

            rows = read_manifest(manifest)
            try:
                points = five_points_of(rows)
            except InputError as error:
                raise InputError(f"{manifest}: {error}") from None
            return cls(manifest, tuple(rows.column("image").to_pylist()), rows, points)
        if not data.is_dir():
            raise InputError(f"{data}: there is no such folder")
        pictures = [source for source in expand([data]) if source.kind == "image" and source.error is None]
        if not pictures:
            raise InputError(f"{data}: holds neither a manifest.parquet nor pictures")
        return cls(data, tuple(source.path.relative_to(data).as_posix() for source in pictures))

    @property
    def root(self) -> Path:
        """The folder names are relative to."""
        return self.source if self.rows is None else self.source.parent

    @property
    def usable(self) -> npt.NDArray[np.bool_]:
        """(N,) rows with a picture and, where a manifest has to say so, a face."""
        if self.rows is None or self.points is None:
            return np.ones(len(self.names), bool)
        return usable_rows(self.rows, self.points)

    def alignment(self, row: int, size: int) -> Matrix | None:
        """(2, 3) from points of the picture to points of the kept crop (with its rim); None where that depends on the picture's size."""
        if self.points is None:
            return None
        return shifted(similarity(self.points[row], FACE224 * (size / 224)), rim(size))

    def fingerprint(self) -> str:
        """SHA-256 of names and alignment (of names and sizes of files, in a folder): what a cache must have been made from."""
        digest = hashlib.sha256("\n".join(name or "" for name in self.names).encode())
        if self.points is not None:
            digest.update(np.ascontiguousarray(self.points).tobytes())
        else:
            digest.update(
                np.array([(self.source / str(name)).stat().st_size for name in self.names], np.int64).tobytes()
            )
        return digest.hexdigest()


class Crops:
    """A finished cache.

    Args:
        folder: the cache.
        faces: what it was made from.
        size: side S of what comes out.

    Attributes:
        usable: (N,) rows that can be drawn.
        unreadable: rows whose picture cannot be read.

    Raises:
        InputError: the cache is damaged, or no picture can be read.
    """

    def __init__(self, folder: Path, faces: Faces, size: int) -> None:
        self.folder, self.faces, self.size = folder, faces, size
        try:
            self._pixels = np.load(folder / "crops.npy", mmap_mode="r", allow_pickle=False)
            state = np.load(folder / "state.npy", allow_pickle=False)
        except (OSError, ValueError) as error:
            raise InputError(f"{folder}: this crop cache is damaged ({error}); remove it and make it again") from None
        self.usable = state == THERE
        self.unreadable = np.flatnonzero((state == MISSING) & faces.usable)
        if not self.usable.any():
            raise InputError(f"{faces.source}: holds no picture that can be read")

    def plain(self, row: int) -> View:
        """(S, S, 3) as it is, without the rim."""
        edge, side = rim(self.size), self.size
        pixels = np.array(self._pixels[row, edge : edge + side, edge : edge + side])
        return View(pixels, shifted(_IDENTITY, -edge), False)

    def varied(self, row: int, how: Augmentation, rng: np.random.Generator) -> View:
        """A varied copy."""
        matrix, mirrored = move(self.size, how, rng)
        matrix = compose(matrix, shifted(_IDENTITY, -rim(self.size)))
        crop = warp(self._pixels[row], matrix, self.size, _BORDERS[row % 2])
        return View(repaint(crop, how, rng), matrix, mirrored)


_IDENTITY: Matrix = np.array([[1.0, 0, 0], [0, 1.0, 0]])


def shifted(matrix: Matrix, by: float) -> Matrix:
    """The same map, its points moved by so many pixels right and down."""
    moved = matrix.copy()
    moved[:, 2] += by
    return moved


def build_crops(
    faces: Faces, folder: Path, size: int, workers: int | None = None, on_steps: Callable[[int], None] | None = None
) -> Crops:
    """Make (or finish, or just open) a cache.

    Pictures that cannot be read are left out and listed in `Crops.unreadable`.

    Args:
        faces: whose.
        folder: of the cache; made if needed.
        size: side S of the crops that will be cut, pixels.
        workers: processes; default one per CPU.
        on_steps: told how many pictures are done since the last time.

    Raises:
        UsageError: the folder holds a cache of other pictures or of another size.
        InputError: no picture can be read.
        OutputError: the folder cannot be written.
    """
    make_folder(folder, parents=True)
    with writing(folder):
        _lay_out(folder, faces, size)
    state = np.load(folder / "state.npy", mmap_mode="r", allow_pickle=False)
    waiting = np.flatnonzero(state == WAITING)
    if on_steps is not None and len(state) > len(waiting):
        on_steps(len(state) - len(waiting))
    rows = [waiting[start : start + _CHUNK] for start in range(0, len(waiting), _CHUNK)]
    jobs = [
        (folder, faces.root, size, [(int(row), faces.names[row], faces.alignment(row, size)) for row in chunk])
        for chunk in rows
    ]
    for _ in run(_keep, jobs, folder, workers, on_steps):
        pass
    return Crops(folder, faces, size)


def _lay_out(folder: Path, faces: Faces, size: int) -> None:
    """Empty arrays, or a check that those there belong to these pictures."""
    path = folder / "meta.json"
    meta: dict[str, Any] = {
        "source": str(faces.source), "size": size, "side": size + 2 * rim(size), "rows": len(faces.names),
        "fingerprint": faces.fingerprint(),
    }  # fmt: skip
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise InputError(f"{path}: cannot be read; remove the crop cache and make it again") from None
        if any(before.get(key) != meta[key] for key in meta if key != "source"):
            raise UsageError(f"{folder}: holds crops of other pictures or of another size; choose another cache")
        return
    shapes = {"crops": (meta["rows"], meta["side"], meta["side"], 3), "state": (meta["rows"],)}
    for name, shape in shapes.items():
        array = np.lib.format.open_memmap(folder / f"{name}.npy", mode="w+", dtype=np.uint8, shape=shape)
        if name == "state":
            array[~faces.usable] = MISSING
        array.flush()
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(meta, indent=1) + "\n", encoding="utf-8")


def _keep(folder: Path, root: Path, size: int, rows: list[tuple[int, str, Matrix | None]]) -> int:
    """Worker: some pictures, written into the cache's arrays."""
    cv2.setNumThreads(1)
    pixels, state = (np.load(folder / f"{name}.npy", mmap_mode="r+", allow_pickle=False) for name in ("crops", "state"))
    for row, name, alignment in rows:
        try:
            image = read_image(root / name)
        except InputError:
            state[row] = MISSING
        else:
            matrix = _square(image, size) if alignment is None else alignment
            pixels[row] = warp(image, matrix, pixels.shape[1], _BORDERS[row % 2])
            state[row] = THERE
        step()
    pixels.flush()
    state.flush()
    return len(rows)


def _square(image: Image, size: int) -> Matrix:
    """(2, 3) that makes the largest square in a picture's middle the crop inside the rim."""
    height, width = image.shape[:2]
    scale = size / min(height, width)
    edge = rim(size)
    return np.array([[scale, 0, (size - scale * width) / 2 + edge], [0, scale, (size - scale * height) / 2 + edge]])
