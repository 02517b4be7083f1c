"""Extractors: frozen face alignment networks, whose landmarks and features are all that an AU model ever sees of a face.

An extractor looks at one aligned crop and gives a geometry vector and feature columns at fixed positions. There are two kinds of positions:
under chosen landmarks, wherever these lie on the crop (`face_mesh`), or the cells of a regular grid over the crop (a FAN). What a model,
a feature store and an extractor must agree on is a `Layout`; it says so without loading the network.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import cv2
import numpy as np
import numpy.typing as npt

from openau.errors import UsageError
from openau.faces import fan_features, features
from openau.faces.align import TEMPLATES, align
from openau.faces.fan import FAN256, POINTS
from openau.faces.finder import PRESENCE, LocatedFace
from openau.faces.mesh import FaceMesh, MeshOutput
from openau.weights import store
from openau.weights.assets import ASSETS

Floats = npt.NDArray[np.float32]
Image = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class UnderLandmarks:
    """Columns are read under landmarks.

    Attributes:
        ids: (P,) Face Mesh ids of the landmarks, in the order of the columns.
    """

    ids: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.ids)


@dataclass(frozen=True, slots=True)
class Grid:
    """Columns are the cells of a regular grid over the crop, row by row from its top left corner.

    Attributes:
        side: cells S of a row and of a column; P = S².
    """

    side: int

    def __len__(self) -> int:
        return self.side**2


Positions = UnderLandmarks | Grid


@dataclass(frozen=True, slots=True)
class Layout:
    """Whose features they are and what stands where in them.

    Attributes:
        extractor: name of the extractor.
        sha256: of its network's file.
        template: name of the crop it looks at (`openau.faces.align.TEMPLATES`).
        geometry: length G of a geometry vector.
        positions: of the P feature columns.
        channels: length C of a column.
    """

    extractor: str
    sha256: str
    template: str
    geometry: int
    positions: Positions
    channels: int

    @property
    def inputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes, without the batch axis, of the inputs that an AU model on these features has."""
        return {"geometry": (self.geometry,), "hypercolumns": (len(self.positions), self.channels)}

    def to_meta(self) -> dict[str, Any]:
        """As a feature store's `meta.json` has it."""
        where = (
            {"grid": self.positions.side} if isinstance(self.positions, Grid) else {"points": list(self.positions.ids)}
        )
        extractor = {"name": self.extractor, "sha256": self.sha256, "template": self.template}
        return {"G": self.geometry, "P": len(self.positions), "C": self.channels, **where, "extractor": extractor}

    @classmethod
    def from_meta(cls, meta: Mapping[str, Any]) -> Layout:
        """Inverse of `to_meta`.

        Raises:
            KeyError, TypeError, ValueError: it is not such an object.
        """
        extractor = meta["extractor"]
        positions: Positions = (
            Grid(int(meta["grid"])) if "grid" in meta else UnderLandmarks(tuple(int(point) for point in meta["points"]))
        )
        return cls(
            extractor["name"], extractor["sha256"], extractor["template"], int(meta["G"]), positions, int(meta["C"])
        )


FACE_MESH = Layout(
    extractor="face_mesh",
    sha256=ASSETS["face_mesh"].sha256,
    template="mesh192",
    geometry=features.GEOMETRY_SIZE,
    positions=UnderLandmarks(tuple(features.POINTS.tolist())),
    channels=features.CHANNELS,
)
"""What Face Mesh gives: `features.geometry` and `features.hypercolumns`."""


@dataclass(frozen=True, slots=True, eq=False)
class Extracted:
    """What an extractor says about one crop.

    Attributes:
        geometry: (G,) float32, landmarks from which pose is gone as far as the extractor can take it out.
        columns: (P, C) float32.
        landmarks: (N, 2 or 3) float32, crop pixels.
        score: 0–1, how sure the network is of them.
        present: whether the network itself sees a face there.
    """

    geometry: Floats
    columns: Floats
    landmarks: Floats
    score: float
    present: bool


class Extractor(Protocol):
    """A frozen alignment network that gives landmarks, and features at fixed positions. Not to be shared between threads."""

    @property
    def layout(self) -> Layout:
        """Whose features they are and what stands where."""
        ...

    def look(self, crop: Image) -> Extracted:
        """Look at a crop of the layout's template, (size, size, 3) RGB uint8.

        Raises:
            ValueError: the crop has another shape.
        """
        ...

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> Extracted:
        """Look at a face that was found, as detection does.

        Args:
            image: (H, W, 3) RGB uint8.
            face: found in it by Face Mesh.
            mirrored: look at the mirror image of the face's crop.
        """
        ...


class FaceMeshExtractor:
    """Face Mesh as an extractor: pose-free geometry and hypercolumns (`openau.faces.features`).

    Args:
        mesh: the network, where it is loaded already.
        threads: of the network, where it is not.
    """

    layout = FACE_MESH

    def __init__(self, mesh: FaceMesh | None = None, threads: int = 1) -> None:
        self._mesh = FaceMesh(threads) if mesh is None else mesh

    def look(self, crop: Image) -> Extracted:
        """See `Extractor`."""
        return self.read(self._mesh.run(crop))

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> Extracted:
        """See `Extractor`. The finder's own last pass serves, so only the mirror image costs a pass of the network."""
        return self.look(np.asarray(cv2.flip(face.crop, 1), np.uint8)) if mirrored else self.read(face.mesh)

    @staticmethod
    def read(output: MeshOutput) -> Extracted:
        """Features of a pass of the network."""
        return Extracted(
            features.geometry(output.landmarks),
            output.columns,
            output.landmarks,
            output.score,
            output.score > PRESENCE,
        )


DEFAULT_GRID = 16
"""Cells of a row and a column where none are asked for: a sixteenth of the paper's 64 × 64 to store and to compute."""


class FANExtractor:
    """A FAN as an extractor: pose-free landmarks, and the tapped map averaged over a grid (`openau.faces.fan_features`).

    A FAN does not say whether there is a face at all; where the finder found one, it is `present`.

    Args:
        name: of the FAN, or its .onnx file with the card beside it.
        grid: cells of a row and a column.
        threads: of the network.

    Raises:
        UsageError: no FAN has this name, or its map cannot be cut into such a grid.
        WeightsError: its file cannot be had, or is not what its card promises.
    """

    def __init__(self, name: str, grid: int = DEFAULT_GRID, threads: int = 1) -> None:
        self.layout = layout(name, grid)
        self._grid = grid
        self._network = FAN256(name, threads)

    def look(self, crop: Image) -> Extracted:
        """See `Extractor`."""
        seen = self._network.run(crop)
        geometry = fan_features.geometry(seen.landmarks)
        return Extracted(geometry, fan_features.cells(seen.features, self._grid), seen.landmarks, seen.score, True)

    def look_at(self, image: Image, face: LocatedFace, mirrored: bool = False) -> Extracted:
        """See `Extractor`."""
        crop, _ = align(image, face.landmarks, self.layout.template)
        return self.look(np.ascontiguousarray(crop[:, ::-1]) if mirrored else crop)


def layout(name: str, grid: int = DEFAULT_GRID) -> Layout:
    """What an extractor gives, without loading its network.

    Args:
        name: `face_mesh`, the name of a FAN, or the FAN's .onnx file with its card beside it.
        grid: cells of a row and a column, for an extractor that gives a map.

    Raises:
        UsageError: no extractor has this name, or its map cannot be cut into such a grid.
        WeightsError: its file or card cannot be had.
    """
    if name == FACE_MESH.extractor:
        return FACE_MESH
    try:
        card, _ = store.resolve_extractor(name)
    except UsageError:
        known = ", ".join((FACE_MESH.extractor, *store.extractor_files()))
        raise UsageError(
            f"no extractor is called {name!r}; there are {known}; or give the path of a FAN's .onnx file"
        ) from None
    if card.points != POINTS or card.template not in TEMPLATES:
        raise UsageError(
            f"{card.name}: an extractor needs {POINTS} landmarks and a known template, not {card.points} on {card.template}"
        )
    if card.side % grid:
        raise UsageError(
            f"{card.name}: its {card.side} × {card.side} map cannot be cut into {grid} × {grid} equal cells"
        )
    return Layout(card.name, card.asset.sha256, card.template, fan_features.GEOMETRY_SIZE, Grid(grid), card.channels)


def load(name: str, grid: int = DEFAULT_GRID, mesh: FaceMesh | None = None, threads: int = 1) -> Extractor:
    """The extractor of this name.

    Args:
        name: see `layout`.
        grid: see `layout`.
        mesh: Face Mesh, where it is loaded already.
        threads: of a network that is not.

    Raises:
        UsageError: see `layout`.
        WeightsError: its network's file cannot be had.
    """
    return FaceMeshExtractor(mesh, threads) if name == FACE_MESH.extractor else FANExtractor(name, grid, threads)
