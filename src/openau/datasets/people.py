"""Who a row of a manifest shows: one identity per person, also across data sets that filmed the same people."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pyarrow as pa


def identities(rows: pa.Table) -> npt.NDArray[np.str_]:
    """(N,) whom each row shows: `people:subject` where a column `people` says whose names these are, else `subject` alone.

    `people` is the namespace of a data set's subjects; data sets that filmed the same people (DISFA and DISFA+) share it, so that
    their SN001 is one person and another data set's SN001 is not.
    """
    names = rows.column("subject").to_pylist()
    if "people" in rows.column_names:
        spaces = rows.column("people").to_pylist()
        names = [name if space is None else f"{space}:{name}" for space, name in zip(spaces, names, strict=True)]
    return np.array(names, np.str_).reshape(-1)
