"""Reads MakeHuman's clothing files (`.mhclo` with its `.obj` and picture): hair that hangs on the base mesh."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from openau.errors import InputError
from openau.synth.rig import Floats, Ints

TEXTURE_SIDE = 512

GREY = 134
"""Mean brightness that textures are brought to; the person's hair colour is a tint on top."""

_CONTRAST = 0.22
"""Largest standard deviation of the logarithm of brightness."""


@dataclass(frozen=True, slots=True, eq=False)
class Garment:
    """A piece of hair, its K vertices bound to three vertices of MakeHuman's base mesh each.

    Shapes: bind (K, 3) base vertex ids; weights (K, 3); offset (K, 3) cm on the base mesh; triangles (T, 3); uv (T, 3, 2);
    texture (512, 512, 4) uint8, grey of mean `GREY`.
    """

    name: str
    bind: Ints
    weights: Floats
    offset: Floats
    triangles: Ints
    uv: Floats
    texture: npt.NDArray[np.uint8]

    def on(self, base: Floats) -> Floats:
        """(K, 3) where the vertices lie on the base mesh (V, 3)."""
        return np.asarray((base[self.bind] * self.weights[..., None]).sum(1) + self.offset, np.float32)


def read_garment(folder: Path, base: Floats) -> Garment | None:
    """Read the garment in a folder; None if the folder has no `.mhclo` or no picture.

    Args:
        folder: with one `.mhclo`, its `.obj` and its diffuse `.png`.
        base: (V, 3) MakeHuman's base mesh, cm.

    Raises:
        InputError: a file is damaged.
    """
    files = sorted(folder.glob("*.mhclo"))
    pictures = [picture for picture in sorted(folder.glob("*.png")) if "normal" not in picture.name]
    if not files or not pictures:
        return None
    try:
        rows, scale, mesh = _parse_mhclo(files[0])
        vertices, uv, triangles, corners = _parse_obj(folder / mesh)
    except OSError as error:
        raise InputError(f"{error.filename or folder}: cannot be read ({error.strerror})") from None
    except (ValueError, IndexError, KeyError) as error:
        raise InputError(f"{files[0]}: not a MakeHuman garment ({error})") from None
    bind = rows[:, :3].astype(np.int32)
    if vertices != len(rows) or bind.max() >= len(base):
        raise InputError(f"{files[0]}: does not belong to {mesh} or to MakeHuman's base mesh")
    factors = np.array([abs(base[a, axis] - base[b, axis]) / width for axis, (a, b, width) in enumerate(scale)])
    return Garment(
        folder.name,
        bind,
        rows[:, 3:6].astype(np.float32),
        (rows[:, 6:9] * factors).astype(np.float32),
        triangles,
        uv[corners],
        _read_texture(pictures[0]),
    )


def _parse_mhclo(file: Path) -> tuple[npt.NDArray[np.float64], list[tuple[int, int, float]], str]:
    """Rows (K, 9) of three vertices, three weights and an offset; per axis two base vertices and their distance (dm); the mesh file."""
    rows: list[list[float]] = []
    scale: dict[str, tuple[int, int, float]] = {}
    mesh, reading = "", False
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        if words[0] == "obj_file":
            mesh = words[1]
        elif words[0] in ("x_scale", "y_scale", "z_scale"):
            scale[words[0][0]] = (int(words[1]), int(words[2]), float(words[3]))
        elif words[0].isdigit():
            if reading and len(words) == 1:
                rows.append([float(words[0])] * 3 + [1, 0, 0, 0, 0, 0])
            elif reading and len(words) >= 9:
                rows.append([float(word) for word in words[:9]])
        elif words[0] in ("verts", "weights", "delete_verts"):
            reading = words[0] == "verts"
    if not rows or not mesh:
        raise ValueError("no vertices or no mesh")
    return np.array(rows), [scale[axis] for axis in "xyz"], mesh


def _parse_obj(file: Path) -> tuple[int, Floats, Ints, Ints]:
    """Number of vertices, texture coordinates (U, 2), triangles (T, 3) into vertices and into coordinates."""
    count = 0
    uv: list[list[float]] = []
    triangles: list[list[int]] = []
    corners: list[list[int]] = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        words = line.split()
        if not words:
            continue
        if words[0] == "v":
            count += 1
        elif words[0] == "vt":
            uv.append([float(word) for word in words[1:3]])
        elif words[0] == "f":
            points = [word.split("/") for word in words[1:]]
            for i in range(1, len(points) - 1):
                fan = (points[0], points[i], points[i + 1])
                triangles.append([int(point[0]) - 1 for point in fan])
                corners.append([int(point[1]) - 1 for point in fan])
    return count, np.array(uv, np.float32), np.array(triangles, np.int32), np.array(corners, np.int32)


def _read_texture(file: Path) -> npt.NDArray[np.uint8]:
    """(512, 512, 4): strands in grey of mean `GREY` where they cover, alpha kept crisp."""
    data = np.frombuffer(file.read_bytes(), np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_UNCHANGED) if data.size else None
    if image is None or image.ndim != 3 or image.shape[2] != 4:
        raise InputError(f"{file}: not a picture with transparency")
    size = (TEXTURE_SIDE, TEXTURE_SIDE)
    alpha = cv2.resize(image[..., 3].astype(np.float32), size, interpolation=cv2.INTER_AREA)
    # Reduction softens edges; steepening them again keeps strands from fading away.
    alpha = np.clip((alpha - 127.5) * 1.6 + 127.5, 0, 255)
    grey = cv2.resize(cv2.cvtColor(image[..., :3], cv2.COLOR_BGR2GRAY), size, interpolation=cv2.INTER_AREA).astype(
        np.float32
    )
    covered = alpha > 127
    # In logarithms, so that black and blond hair end alike: same mean, highlights no stronger than `_CONTRAST`.
    strands = np.log(grey + 8)
    if covered.any():
        strands -= float(strands[covered].mean())
        strands *= min(1.0, _CONTRAST / max(float(strands[covered].std()), 1e-6))
    texture = np.empty((*size, 4), np.uint8)
    texture[..., :3] = np.clip(GREY * np.exp(strands), 0, 255)[..., None].astype(np.uint8)
    texture[..., 3] = alpha.astype(np.uint8)
    return texture
