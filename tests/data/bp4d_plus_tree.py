"""A look-alike of BP4D+: BP4D's layout with 140 people, four coded tasks, and pictures in `2D+3D`."""

from __future__ import annotations

from pathlib import Path

from bp4d_tree import make_tree

SUBJECTS = tuple([f"F{number:03d}" for number in range(1, 83)] + [f"M{number:03d}" for number in range(1, 59)])
TASKS = ("T1", "T6", "T7", "T8")


def make(root: Path, **options: object) -> Path:
    """Write the tree; see `bp4d_tree.make_tree` for the options."""
    defaults = {"sequences": "2D+3D", "first_frame": 1, "first_picture": 0}
    return make_tree(root, SUBJECTS, TASKS, **{**defaults, **options})  # type: ignore[arg-type]
