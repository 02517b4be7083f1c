"""The manifest: one Parquet table for the labelled faces of any data set, rendered or real.

| column | type | holds |
|---|---|---|
| `image` | text or null | path of the picture, relative to the manifest's folder |
| `subject` | text | who it is; splits never cut through a subject |
| `clip`, `frame` | text, integer or null | where in a recording it comes from |
| `fold` | integer or null | part of a published or planned split |
| `AU12` | 0, 1 or null | occurrence; null = not known |
| `AU12_i` | 0–5 or null | intensity |
| `AU12_L`, `AU12_R` | 0, 1 or null | occurrence on the subject's left and right |
| `AU12_iL`, `AU12_iR` | 0–5 or null | intensity on the subject's left and right |

`image`, `subject` and at least one AU column are needed; `clip`, `frame` and `fold` are filled with nulls where they are absent. Further
columns (pose, landmarks, rig …) are free and travel along.

If all pictures are crops of one template (`openau.faces.align.TEMPLATES`), as `openau prepare` makes them, the file's metadata name it.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from openau.errors import InputError, MissingExtraError, OutputError
from openau.facs import AUS, Side, intensity_column, occurrence_column, parse_column

if TYPE_CHECKING:
    import pyarrow as pa

TEMPLATE_KEY = "openau.template"
"""Key of the metadata that name the crops' template."""

FIVE_POINTS = "five_points"
"""Free column of prepared crops: eye centres, nose tip and mouth corners in the picture's pixels, image left first, 10 numbers or null."""

_AU_LIKE = re.compile(r"AU\d+(_.*)?")
_ONE_SIDE = re.compile(r"(AU\d+_i)[LR]")


def sided_intensity_column(number: int, side: Side) -> str:
    """Name of an intensity column of one side: `AU12_iL`."""
    return f"{intensity_column(number)}{side}"


def read_manifest(path: Path) -> pa.Table:
    """Read and check a manifest.

    Returns:
        The table, with `clip`, `frame` and `fold` present.

    Raises:
        InputError: the file is missing, is not Parquet, or breaks the format.
        MissingExtraError: PyArrow is not installed.
    """
    _need_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.is_dir():
        raise InputError(f"{path}: is a folder, not a manifest; name the Parquet file in it")
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: is not a readable Parquet file ({_first_line(error)})") from None
    problem = find_problem(table)
    if problem:
        raise InputError(f"{path}: {problem}")
    return _complete(table)


def write_manifest(table: pa.Table, path: Path) -> None:
    """Check a manifest and write it, whole or not at all.

    Raises:
        InputError: the table breaks the format.
        OutputError: the file cannot be written.
        MissingExtraError: PyArrow is not installed.
    """
    _need_pyarrow()
    import pyarrow.parquet as pq

    problem = find_problem(table)
    if problem:
        raise InputError(f"{path}: {problem}")
    partial = path.with_name(path.name + ".partial")
    try:
        pq.write_table(_complete(table), partial, compression="zstd")
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise OutputError(f"{path}: cannot be written ({_first_line(error)})") from None


def find_problem(table: pa.Table) -> str | None:
    """The first thing about a table that breaks the format, in words, or None."""
    import pyarrow as pa

    names = table.column_names
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return f"the column {twice[0]} appears twice"
    for name in ("image", "subject"):
        if name not in names:
            return f"the column {name} is missing"
        if not _is_text(table.schema.field(name).type) and table.column(name).null_count < table.num_rows:
            return f"the column {name} must hold text"
    if table.column("subject").null_count:
        return "the column subject has empty cells, but every face needs a subject"
    for name in ("frame", "fold"):
        if name in names and not (pa.types.is_integer(table.schema.field(name).type) or _all_null(table, name)):
            return f"the column {name} must hold integers"
    label_names = [name for name in names if _AU_LIKE.fullmatch(name)]
    if not label_names:
        return "there is no AU column (AU01, AU01_i, AU01_L …)"
    return _absolute_image(table) or next(filter(None, (_label_problem(table, name) for name in label_names)), None)


def template_of(table: pa.Table) -> str | None:
    """Template of which all the pictures are crops, or None: whole pictures, in which a face has to be found."""
    name = (table.schema.metadata or {}).get(TEMPLATE_KEY.encode())
    return None if name is None else str(name.decode())


def aus_in(table: pa.Table) -> tuple[int, ...]:
    """AUs whose occurrence is known in at least one row, in FACS order."""
    return tuple(n for n in AUS if _has_values(table, occurrence_column(n)))


def intensity_aus_in(table: pa.Table) -> tuple[int, ...]:
    """AUs whose intensity is known in at least one row."""
    return tuple(n for n in AUS if _has_values(table, intensity_column(n)))


def sided_aus_in(table: pa.Table) -> tuple[int, ...]:
    """AUs whose left and right occurrence are known in at least one row each."""
    sides: tuple[Side, Side] = ("L", "R")
    return tuple(n for n in AUS if all(_has_values(table, occurrence_column(n, side)) for side in sides))


def _has_values(table: pa.Table, name: str) -> bool:
    return name in table.column_names and not _all_null(table, name)


def _all_null(table: pa.Table, name: str) -> bool:
    return bool(table.column(name).null_count == table.num_rows)


def _label_problem(table: pa.Table, name: str) -> str | None:
    """What is wrong with one AU column."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = _ONE_SIDE.fullmatch(name)
    parsed = parse_column(kind[1] if kind else name)
    if parsed is None:
        return f"{name} looks like an AU column, but names no AU OpenAU knows (AUs are written AU01, AU12, AU12_i …)"
    if _all_null(table, name):
        return None
    value_type = table.schema.field(name).type
    if not (pa.types.is_integer(value_type) or pa.types.is_floating(value_type) or pa.types.is_boolean(value_type)):
        return f"the column {name} must hold numbers"
    values = table.column(name).cast(pa.float64())
    if pc.any(pc.is_nan(values)).as_py():
        return f"the column {name} holds NaN; what is not known must be null"
    bounds = pc.min_max(values).as_py()
    if parsed[1] == "i":
        inside = bounds["min"] >= 0 and bounds["max"] <= 5
        return None if inside else f"the column {name} must hold intensities from 0 to 5 or null"
    binary = pc.all(pc.is_in(values, pa.array([0.0, 1.0, None]))).as_py()
    return None if binary else f"the column {name} must hold 0, 1 or null"


def _absolute_image(table: pa.Table) -> str | None:
    import pyarrow.compute as pc

    if _all_null(table, "image"):
        return None
    absolute = pc.match_substring_regex(table.column("image"), r"^(/|\\|[A-Za-z]:)")
    if pc.any(absolute).as_py():
        return "the column image must hold paths relative to the manifest's folder, not absolute ones"
    return None


def _complete(table: pa.Table) -> pa.Table:
    """Add `clip`, `frame` and `fold` where they are absent."""
    import pyarrow as pa

    for name, value_type in (("clip", pa.string()), ("frame", pa.int64()), ("fold", pa.int64())):
        if name not in table.column_names:
            table = table.append_column(name, pa.nulls(table.num_rows, value_type))
    return table


def _is_text(value_type: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_dictionary(value_type):
        value_type = value_type.value_type
    return bool(pa.types.is_string(value_type) or pa.types.is_large_string(value_type))


def _need_pyarrow() -> None:
    try:
        import pyarrow  # noqa: F401
    except ImportError:
        raise MissingExtraError(
            "manifests are Parquet files and need PyArrow, which is not installed; run: pip install 'openau[tables]'"
        ) from None


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
