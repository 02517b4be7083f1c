"""A look-alike of BP4D: the published tree with people who are nobody, a few tiny pictures per recording and drawn labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from people import SIZE, Size, person_frames, write_picture

SUBJECTS = tuple([f"F{number:03d}" for number in range(1, 24)] + [f"M{number:03d}" for number in range(1, 19)])
TASKS = tuple(f"T{number}" for number in range(1, 9))
COLUMNS = (1, 2, 4, 5, 6, 7, *range(9, 21), 22, 23, 24, *range(27, 40))
"""AU numbers in the first line of an occurrence file, as public code lists them."""
NEVER_CODED = (27, 38)
"""AUs that are 9 throughout."""
INTENSITY = (6, 10, 12, 14, 17)

Codes = npt.NDArray[np.int64]


def make(root: Path, **options: object) -> Path:
    """Write the tree; see `make_tree` for the options."""
    return make_tree(root, SUBJECTS, TASKS, **{"sequences": "Sequences", **options})  # type: ignore[arg-type]


def make_tree(
    root: Path,
    subjects: Sequence[str],
    tasks: Sequence[str],
    *,
    sequences: str,
    only: Sequence[str] | None = None,
    frames: int = 1,
    first_frame: int = 101,
    first_picture: int = 1,
    digits: int | None = None,
    spare: int = 0,
    unknown: bool = False,
    missing: Sequence[tuple[str, int]] = (),
    pictures: bool = True,
    intensity: bool = True,
    size: Size = SIZE,
    seed: int = 0,
) -> Path:
    """Write a tree in the layout of BP4D and BP4D+.

    Args:
        root: made if it is not there.
        subjects: who there is in the data set.
        tasks: coded ones.
        sequences: folder of the pictures, below `root`; "" for `root` itself.
        only: these subjects alone.
        frames: coded ones per recording.
        first_frame: number of the first coded frame.
        first_picture: number of the picture of label frame 1: 1 as in the FERA edition, 0 as in the original one, where every recording
            begins with picture 0.
        digits: of the pictures' names; by default as many as 4, 3 or 1, varying from recording to recording.
        spare: pictures before and after the coded ones.
        unknown: whether the last coded frame of every recording is 9 for AU 1, and for the intensity of AU 6.
        missing: pictures that are not there, as (recording, label frame): ("F001_T1", 102).
        pictures: whether there are any.
        intensity: whether there are intensity files.
        size: of the pictures.
        seed: of the labels.
    """
    for subject in only or subjects:
        who = subjects.index(subject)
        shown = person_frames(who, len(tasks) * frames, size) if pictures else []
        rng = np.random.default_rng([seed, who])
        codes = {number: mixed(rng, len(tasks) * frames) for number in COLUMNS}
        for number in NEVER_CODED:
            codes[number][:] = 9
        for index, task in enumerate(tasks):
            name, part = f"{subject}_{task}", slice(index * frames, (index + 1) * frames)
            numbers = np.arange(first_frame, first_frame + frames)
            coded = {number: column[part].copy() for number, column in codes.items()}
            grades = {number: grade(rng, coded[number]) for number in INTENSITY}
            if unknown:
                coded[1][-1] = 9
                grades[6][-1] = 9
            write_codes(root / "AUCoding", name, numbers, coded, grades if intensity else {})
            if not pictures:
                continue
            width = digits or (4, 3, 1)[(who + index) % 3]
            folder = root / sequences / subject / task
            lead = [(first_frame - 1 - n, shown[part][0]) for n in range(spare)]
            if first_picture == 0 and first_frame > spare + 1:
                lead.append((1, shown[part][0]))
            tail = [(first_frame + frames + n, shown[part][-1]) for n in range(spare)]
            for number, frame in [*lead, *zip(numbers.tolist(), shown[part], strict=True), *tail]:
                if (name, number) not in missing:
                    write_picture(folder / f"{number - 1 + first_picture:0{width}d}.jpg", frame)
    return root


def mixed(rng: np.random.Generator, count: int, share: float = 0.4) -> Codes:
    """0s and 1s in random order, both of them where there is room."""
    ones = min(max(round(count * share), 1), max(count - 1, 0))
    return rng.permutation(np.arange(count) < ones).astype(np.int64)


def grade(rng: np.random.Generator, occurrence: Codes) -> Codes:
    """Intensity 1–5 where an AU occurs, 0 elsewhere."""
    return np.where(occurrence == 1, rng.integers(1, 6, len(occurrence)), 0)


def write_codes(home: Path, name: str, numbers: Codes, coded: dict[int, Codes], grades: dict[int, Codes]) -> None:
    """Write the occurrence file and the intensity files of one recording."""
    (home / "AU_OCC").mkdir(parents=True, exist_ok=True)
    table = np.column_stack([numbers, *coded.values()])
    head = ",".join(map(str, (0, *coded)))
    lines = [head, *(",".join(map(str, row)) for row in table.tolist())]
    (home / "AU_OCC" / f"{name}.csv").write_text("\n".join(lines) + "\n")
    for number, column in grades.items():
        folder = home / "AU_INT" / f"AU{number:02d}"
        folder.mkdir(parents=True, exist_ok=True)
        lines = [f"{frame},{code}" for frame, code in zip(numbers.tolist(), column.tolist(), strict=True)]
        (folder / f"{name}_AU{number:02d}.csv").write_text("\n".join(lines) + "\n")
