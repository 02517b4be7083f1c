"""Several feature stores as one, for training across data sets; nothing is copied, arrays stay on disk."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.faces.extractors import Layout

if TYPE_CHECKING:
    import pyarrow as pa

Index = npt.NDArray[np.intp]


class Views(Protocol):
    """An array (N, V, …) of which some views of some rows are read: an `np.memmap`, or `JoinedArray`."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(N, V, …)."""
        ...

    def __getitem__(self, index: tuple[Index, Index], /) -> npt.NDArray[Any]:
        """(B, …) of rows (B,) and views (B,)."""
        ...


class LabelledFaces(Protocol):
    """Faces and what is known of them, in whichever form a model reads them: stored features, or pictures."""

    @property
    def folder(self) -> Path:
        """Where it is, for messages."""
        ...

    @property
    def rows(self) -> pa.Table:
        """The manifest's N rows."""
        ...

    @property
    def ok(self) -> npt.NDArray[np.bool_]:
        """(N, V) views in which a face was found."""
        ...

    @property
    def flipped(self) -> npt.NDArray[np.bool_]:
        """(N, V) views that are mirror images."""
        ...

    @property
    def meta(self) -> dict[str, Any]:
        """What it was made from; of features also their layout (`layout_of`)."""
        ...

    @property
    def manifests(self) -> tuple[Path, ...]:
        """The manifests it was made from."""
        ...

    def __len__(self) -> int:
        """N."""
        ...


class Features(LabelledFaces, Protocol):
    """Stored features: a `FeatureStore`, or several as a `JoinedStore`; see `openau.training.features` for the arrays."""

    @property
    def geometry(self) -> Views:
        """(N, V, G) float32."""
        ...

    @property
    def hypercolumns(self) -> Views:
        """(N, V, P, C) float16."""
        ...

    @property
    def plain(self) -> Features | None:
        """The plain view alone, V = 1; None if there is none."""
        ...


class JoinedArray:
    """Arrays (N_i, V_i, …) one below the other, read by global row.

    Shape:
        (sum of N_i, largest V_i, …); a view that a part does not have may not be asked for.
    """

    def __init__(self, parts: Sequence[Views]) -> None:
        self._parts = tuple(parts)
        self._starts = np.cumsum([0, *(part.shape[0] for part in parts)])
        views = max(part.shape[1] for part in parts)
        self.shape = (int(self._starts[-1]), views, *parts[0].shape[2:])

    def __getitem__(self, index: tuple[Index, Index], /) -> npt.NDArray[Any]:
        """(B, …) of rows (B,) and views (B,).

        Raises:
            IndexError: a row or view is not there.
        """
        rows, views = (np.asarray(part) for part in index)
        if len(rows) and not 0 <= rows.min() <= rows.max() < self.shape[0]:
            raise IndexError(f"rows must lie between 0 and {self.shape[0] - 1}")
        owner = np.searchsorted(self._starts, rows, side="right") - 1
        found: npt.NDArray[Any] | None = None
        for number in np.unique(owner):
            mine = owner == number
            values = self._parts[number][rows[mine] - self._starts[number], views[mine]]
            if found is None:
                found = np.empty((len(rows), *self.shape[2:]), values.dtype)
            found[mine] = values
        return self._parts[0][rows, views] if found is None else found


@dataclass(frozen=True)
class JoinedStore:
    """Several feature stores one below the other; attributes as of `openau.training.features.FeatureStore`.

    Attributes:
        folder: folders of the parts, joined by "+", for messages.
        parts: the stores, in the order of their rows.
    """

    folder: Path
    geometry: JoinedArray
    hypercolumns: JoinedArray
    flipped: npt.NDArray[np.bool_]
    ok: npt.NDArray[np.bool_]
    rows: pa.Table
    meta: dict[str, Any]
    parts: tuple[Features, ...]
    plain: Features | None = None

    @property
    def manifests(self) -> tuple[Path, ...]:
        """Of all parts."""
        return tuple(file for part in self.parts for file in part.manifests)

    def __len__(self) -> int:
        return len(self.ok)


def layout_of(store: Features) -> Layout:
    """Whose features a store holds and what stands where in them."""
    return Layout.from_meta(store.meta)


def judged(store: Features) -> Features:
    """What faces are judged on: the plain view; in a store that has none, all the views there are."""
    return store if store.plain is None else store.plain


def parts_of(store: LabelledFaces) -> tuple[LabelledFaces, ...]:
    """The stores that are joined in this one; else itself."""
    return store.parts if isinstance(store, JoinedStore) else (store,)


def join(stores: Sequence[Features]) -> Features:
    """Put stores one below the other, in this order; a single one stays what it is.

    Columns of the rows are united (null where a part does not have one). People are told apart by the column `people`, see
    `openau.datasets.people.identities`. Only if all have a plain view has the whole.

    Raises:
        UsageError: no store is given, or the features differ in extractor, positions or size.
        InputError: two stores name a person alike and neither says whose names these are.
    """
    if not stores:
        raise UsageError("there is no feature store to join")
    if len(stores) == 1:
        return stores[0]
    first = stores[0]
    for other in stores[1:]:
        if layout_of(other) != layout_of(first):
            raise UsageError(f"{other.folder}: holds other features than {first.folder}, so they cannot be joined")
    require_distinct_people(stores)
    rows = united([store.rows for store in stores])
    plain = [store.plain for store in stores if store.plain is not None]
    joined = _stacked(stores, rows)
    return replace(joined, plain=_stacked(plain, rows)) if len(plain) == len(stores) else joined


def _stacked(stores: Sequence[Features], rows: pa.Table) -> JoinedStore:
    views = max(store.ok.shape[1] for store in stores)
    return JoinedStore(
        folder=Path("+".join(str(store.folder) for store in stores)),
        geometry=JoinedArray([store.geometry for store in stores]),
        hypercolumns=JoinedArray([store.hypercolumns for store in stores]),
        flipped=np.concatenate([_widened(store.flipped, views) for store in stores]),
        ok=np.concatenate([_widened(store.ok, views) for store in stores]),
        rows=rows,
        meta={**stores[0].meta, "views": views, "rows": rows.num_rows},
        parts=tuple(stores),
    )


def require_distinct_people(stores: Sequence[LabelledFaces]) -> None:
    """Plain names, without a namespace, may not appear in two stores: they could be one person or two.

    Raises:
        InputError: one does.
    """
    owner: dict[str, LabelledFaces] = {}
    for store in stores:
        rows = store.rows
        nameless = np.ones(len(store), bool)
        if "people" in rows.column_names:
            nameless = np.asarray(rows.column("people").is_null().to_numpy())
        for name in np.unique(identities(rows)[nameless]).tolist():
            if name in owner:
                raise InputError(
                    f"{owner[name].folder} and {store.folder}: both have a subject {name}; a column `people` in their manifests "
                    "must say whose names these are before they can be joined"
                )
            owner[name] = store


def _widened(flags: npt.NDArray[np.bool_], views: int) -> npt.NDArray[np.bool_]:
    return np.pad(flags, ((0, 0), (0, views - flags.shape[1])))


def united(tables: Sequence[pa.Table]) -> pa.Table:
    """Rows one below the other, with the columns of all.

    Raises:
        InputError: a column has types that do not go together.
    """
    import pyarrow as pa

    try:
        return pa.concat_tables(tables, promote_options="permissive").combine_chunks()
    except pa.ArrowException as error:
        raise InputError(f"the stores' manifests cannot be joined ({error})") from None
