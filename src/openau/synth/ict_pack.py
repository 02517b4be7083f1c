"""Packs ICT-FaceKit light's OBJ files (417 MB) into one file of arrays (17 MB) that the `ict` rig reads.

Source: https://github.com/ICT-VGL/ICT-FaceKit, MIT, the commit named in `openau.weights.assets.ICT_FACEKIT`. Its folder `FaceXModel` holds
`generic_neutral_mesh.obj`, one OBJ per expression, `identity000.obj` … and `vertex_indices.json`; all share one topology.

| array | shape | content |
|---|---|---|
| `neutral` | (V, 3) float32 | neutral mesh, cm |
| `exp`, `exp_names` | (E, V, 3) float16, (E,) str | offsets of the expressions from the neutral mesh |
| `ident` | (I, V, 3) float16 | offsets of the identity modes; coefficients are standard normal |
| `faces`, `faces_uv` | (T, 3) int64 | triangles into the vertices and into `uv` |
| `uv` | (U, 2) float32 | texture coordinates, one unit tile per material |
| `mat` | (T,) str | material of each triangle |
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, OutputError, WeightsError
from openau.weights.arrays import array_hashes
from openau.weights.assets import ICT_FACEKIT

__all__ = ["ARRAYS", "EXPECTED", "array_hashes", "pack", "verify"]

Progress = Callable[[int, int], None]
"""Called with the number of files read and the number of files in all."""

ARRAYS = ("neutral", "exp", "exp_names", "ident", "faces", "faces_uv", "uv", "mat")
"""Arrays of the packed file."""

EXPECTED = ICT_FACEKIT.arrays
"""Array → SHA-256 of its type, shape and bytes (`array_hashes`), for the pinned commit."""

_NEUTRAL = "generic_neutral_mesh"


def pack(checkout: Path, out: Path, progress: Progress | None = None) -> None:
    """Write the packed file of a checkout.

    Args:
        checkout: folder of ICT-FaceKit, or its `FaceXModel` folder.
        out: file to write (`.npz`); written under a temporary name, then renamed.
        progress: told about every file read.

    Raises:
        InputError: the folder is not such a checkout, or one of its files is damaged.
        OutputError: `out` cannot be written.
    """
    folder = _model_folder(Path(checkout))
    names = _expressions(folder)
    modes = sorted(folder.glob("identity*.obj"))
    if not modes:
        raise InputError(f"{folder}: there is no identity000.obj; is this a whole checkout of ICT-FaceKit?")
    files = [folder / f"{_NEUTRAL}.obj", *(folder / f"{name}.obj" for name in names), *modes]
    neutral = _read_vertices(files[0])
    offsets: list[npt.NDArray[np.float16]] = []
    for done, file in enumerate(files[1:], start=1):
        if progress is not None:
            progress(done, len(files))
        vertices = _read_vertices(file)
        if vertices.shape != neutral.shape:
            raise InputError(f"{file}: has {len(vertices)} vertices where {files[0].name} has {len(neutral)}")
        offsets.append((vertices - neutral).astype(np.float16))
    faces, faces_uv, uv, materials = _read_topology(files[0])
    if progress is not None:
        progress(len(files), len(files))
    _write(
        Path(out),
        {
            "neutral": neutral,
            "exp": np.stack(offsets[: len(names)]),
            "ident": np.stack(offsets[len(names) :]),
            "exp_names": np.array(names, np.str_),
            "faces": faces,
            "faces_uv": faces_uv,
            "uv": uv,
            "mat": np.array(materials, np.str_),
        },
    )


def verify(path: Path) -> None:
    """Check that a packed file holds exactly the pinned commit's arrays.

    Raises:
        WeightsError: the file cannot be read, or an array is missing or different.
    """
    found = array_hashes(Path(path))
    for name, digest in EXPECTED.items():
        if name not in found:
            raise WeightsError(f"{path}: not the pinned ICT-FaceKit: the array {name!r} is missing")
        if found[name] != digest:
            raise WeightsError(f"{path}: not the pinned ICT-FaceKit: the array {name!r} has other values")


def _model_folder(checkout: Path) -> Path:
    for folder in (checkout, checkout / "FaceXModel"):
        if (folder / f"{_NEUTRAL}.obj").is_file():
            return folder
    raise InputError(f"{checkout}: there is no FaceXModel/{_NEUTRAL}.obj; give the folder of an ICT-FaceKit checkout")


def _expressions(folder: Path) -> list[str]:
    file = folder / "vertex_indices.json"
    try:
        names = json.loads(file.read_text(encoding="utf-8"))["expressions"]
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except (ValueError, KeyError, TypeError):
        raise InputError(f"{file}: does not list the model's expressions; the file is damaged") from None
    if (
        not isinstance(names, list)
        or not names
        or not all(isinstance(name, str) and name.isidentifier() for name in names)
    ):
        raise InputError(f"{file}: its list of expressions is damaged")
    return names


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise InputError(f"{file}: is not an OBJ file") from None


def _read_vertices(file: Path) -> npt.NDArray[np.float32]:
    rows = [line[2:].split() for line in _lines(file) if line.startswith("v ")]
    try:
        vertices = np.array(rows, np.float64).astype(np.float32)
    except ValueError:
        raise InputError(f"{file}: a vertex is damaged") from None
    if vertices.ndim != 2 or vertices.shape[1] != 3 or not np.isfinite(vertices).all():
        raise InputError(f"{file}: holds no vertices of three coordinates")
    return vertices


def _read_topology(
    file: Path,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.float32], list[str]]:
    """Triangles into vertices and texture coordinates, the coordinates, and each triangle's material; polygons become fans."""
    uv: list[list[float]] = []
    faces: list[list[int]] = []
    faces_uv: list[list[int]] = []
    materials: list[str] = []
    material = ""
    try:
        for line in _lines(file):
            key, _, rest = line.partition(" ")
            if key == "vt":
                uv.append([float(value) for value in rest.split()[:2]])
            elif key == "usemtl":
                material = rest.strip()
            elif key == "f":
                corners = [corner.split("/") for corner in rest.split()]
                for i in range(1, len(corners) - 1):
                    fan = (corners[0], corners[i], corners[i + 1])
                    faces.append([int(corner[0]) - 1 for corner in fan])
                    faces_uv.append([int(corner[1]) - 1 for corner in fan])
                    materials.append(material)
    except (ValueError, IndexError):
        raise InputError(f"{file}: a face or texture coordinate is damaged") from None
    if not faces or not uv:
        raise InputError(f"{file}: holds no textured faces")
    return np.array(faces, np.int64), np.array(faces_uv, np.int64), np.array(uv, np.float32), materials


def _write(out: Path, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    partial = out.with_name(f"{out.name}.partial")
    try:
        with partial.open("wb") as stream:
            np.savez_compressed(stream, **arrays)  # type: ignore[arg-type]
        partial.replace(out)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None
