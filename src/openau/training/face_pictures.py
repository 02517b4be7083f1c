"""Labelled faces as pictures, for models that look at pixels: what a feature store is for models that read features."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import read_manifest
from openau.errors import InputError, UsageError
from openau.training.joined import require_distinct_people, united
from openau.training.pictures import five_points_of, usable_rows

if TYPE_CHECKING:
    import pyarrow as pa

MANIFEST = "manifest.parquet"


@dataclass(frozen=True, eq=False)
class FacePictures:
    """The rows of a manifest, or of several, with the pictures they name.

    Attributes:
        folder: of the manifest; of several, their folders joined by "+", for messages.
        rows: N rows; of several manifests the column `image` holds whole paths.
        ok: (N, 1) whether a row has a picture whose face is known.
        flipped: (N, 1) false: a picture is seen as it is.
        meta: what it was made from.
        manifests: the files.
    """

    folder: Path
    rows: pa.Table
    ok: npt.NDArray[np.bool_]
    flipped: npt.NDArray[np.bool_]
    meta: dict[str, Any]
    manifests: tuple[Path, ...]

    def __len__(self) -> int:
        return len(self.ok)

    @classmethod
    def open(cls, folder: Path) -> FacePictures:
        """The data set of a folder.

        Raises:
            InputError: it holds no manifest, or one that does not say where faces are.
        """
        file = folder / MANIFEST
        if not file.is_file():
            raise InputError(f"{folder}: holds no {MANIFEST}")
        rows = read_manifest(file)
        try:
            ok = usable_rows(rows, five_points_of(rows))[:, None]
        except InputError as error:
            raise InputError(f"{file}: {error}") from None
        meta = {"manifest_sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        return cls(folder, rows, ok, np.zeros_like(ok), meta, (file,))


def join_pictures(sets: Sequence[FacePictures]) -> FacePictures:
    """Several data sets one below the other; a single one stays what it is.

    Raises:
        UsageError: none is given.
        InputError: two name a person alike and neither says whose names these are.
    """
    if not sets:
        raise UsageError("there is no data set to join")
    if len(sets) == 1:
        return sets[0]
    require_distinct_people(sets)
    rows = united([_with_whole_paths(one) for one in sets])
    ok = np.concatenate([one.ok for one in sets])
    return FacePictures(
        folder=Path("+".join(str(one.folder) for one in sets)),
        rows=rows,
        ok=ok,
        flipped=np.zeros_like(ok),
        meta={"parts": [one.meta for one in sets]},
        manifests=tuple(file for one in sets for file in one.manifests),
    )


def _with_whole_paths(one: FacePictures) -> pa.Table:
    import pyarrow as pa

    names = one.rows.column("image").to_pylist()
    whole = pa.array([None if name is None else str((one.folder / name).absolute()) for name in names], pa.string())
    return one.rows.set_column(one.rows.column_names.index("image"), "image", whole)
