"""The rooms of docs/architecture.md are the rooms there are, and imports point the way its table says."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import openau

PACKAGE = Path(openau.__file__).parent
TABLE = Path(__file__).parents[1] / "docs" / "architecture.md"
TORCH_ROOMS = {"models", "losses", "distill", "training", "explain", "bench"}


def rooms() -> list[str]:
    """Rooms from the top of the table down; those on one line in the order in which they stand there."""
    table = TABLE.read_text(encoding="utf-8").split("| room |")[1].split("\n\n")[0]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    return [name.rstrip("/") for line in lines for name in re.findall(r"`([^`]+)`", line.split("|")[1])]


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported(file: Path) -> set[str]:
    """Dotted names of the modules a file imports, anywhere in it."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
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
    ]
    assert wrong == []


def test_torch_stays_where_models_are_made() -> None:
    heavy = {"torch", "lightning"}
    using = {room_of(file) for file in files() if {name.split(".")[0] for name in imported(file)} & heavy}
    assert using <= TORCH_ROOMS
