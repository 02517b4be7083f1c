"""The rooms of docs/architecture.md are the rooms there are, and imports point the way its table says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import openau

PACKAGE = Path(openau.__file__).parent
TABLE = Path(__file__).parents[1] / "docs" / "architecture.md"
OPENED_WHEN_USED = {("result", "notebook"), ("result", "overlay")}
"""Rooms that methods open from above: `Faces` draws itself with what stands below it. Allowed inside functions alone."""
TORCH_ROOMS = {"models", "losses", "distill", "training", "explain", "bench"}


def rooms() -> list[str]:
    """Rooms from the top of the table down; those on one line in the order in which they stand there."""
    table = TABLE.read_text(encoding="utf-8").split("| room |")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [name.rstrip("/") for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(file: Path, inside_functions: bool = True) -> set[str]:
    """Dotted names of the modules a file imports, anywhere in it, or only as it is loaded."""
    found = set()
    tree = ast.parse(file.read_text(encoding="utf-8"))
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    later = {id(node) for function in functions for node in ast.walk(function)}
    for node in ast.walk(tree):
        if id(node) in later and not inside_functions:
            continue
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found


def files() -> list[Path]:
    """All modules but the package's own front door and `python -m openau`."""
    return sorted(file for file in PACKAGE.rglob("*.py") if room_of(file) not in ("__init__", "__main__"))


def test_the_table_lists_every_room_and_no_other() -> None:
    assert len(rooms()) == len(set(rooms()))
    assert set(rooms()) == {room_of(file) for file in files()}


def test_no_room_imports_one_below_it() -> None:
    order = {room: place for place, room in enumerate(rooms())}
    wrong = [
        f"{file.relative_to(PACKAGE)} imports {name}"
        for file in files()
        for name in sorted(imported(file))
        if name.startswith("openau.") and (room := name.split(".")[1]) in order and order[room] > order[room_of(file)]
        if (room_of(file), room) not in OPENED_WHEN_USED
    ]
    assert wrong == []


def test_what_is_opened_when_used_is_not_opened_before() -> None:
    for above, below in OPENED_WHEN_USED:
        (file,) = [file for file in files() if room_of(file) == above]
        assert not {name for name in imported(file, inside_functions=False) if name.startswith(f"openau.{below}")}


def test_torch_stays_where_models_are_made() -> None:
    heavy = {"torch", "lightning"}
    using = {room_of(file) for file in files() if {name.split(".")[0] for name in imported(file)} & heavy}
    assert using <= TORCH_ROOMS
