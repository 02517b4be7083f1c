"""What is published about a preset, and whether a copy rendered on another machine agrees with it.

| | published | must agree |
|---|---|---|
| parameters | SHA-256 of each person's and its pictures' sampled numbers | exactly, at six decimals |
| labels | SHA-256 of each person's rows: who, fold, rig, condition, the AU columns but `AU25_i` | exactly, intensities at four decimals |
| lip gaps | each person's mean of `lip_gap`, mm | within `GAP_TOLERANCE` |
| pixels | mean colours of 8 × 8 blocks of 24 pictures, 0–255 | within `PIXEL_TOLERANCE` |

Numbers drawn by NumPy differ between machines in the last of sixteen digits at most (fused multiplications, another `exp`), so six and
four decimals are the same everywhere, as long as NumPy's streams are: a NumPy version that draws other numbers makes another data set,
and is noticed here. The gap between the lips, and so `AU25_i`, is measured on the deformed mesh in single precision; a rounded value would
now and then fall to the other side of a rounding border, hence the tolerance. The occurrence of AU25, and what open lips hide (AUs 17, 23,
24, 28), hang on that gap by two thresholds only; no published picture lies so near to one that another machine could decide otherwise
(`docs/synth.md` has the distance), so they are exact.

The published hash of parameters or labels is the SHA-256 of the people's digests, one per line (`overall`).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from openau.datasets.manifest import read_manifest
from openau.errors import InputError
from openau.facs import intensity_column
from openau.outputs import whole_file
from openau.synth import anny, ict
from openau.synth.conditions import CONDITIONS
from openau.synth.dataset import manifest_path
from openau.synth.labels import Level, label_columns, lips_apart
from openau.synth.parameters import RENDERED_AUS
from openau.synth.plan import Plan

if TYPE_CHECKING:
    import pyarrow as pa

Floats = npt.NDArray[np.float64]

FILES = Path(__file__).parent / "files"
"""NAME.json holds what is published about the preset NAME."""

PIXEL_TOLERANCE = 2.0
"""Largest difference of a block's mean colour, in grey levels of 255."""

GAP_TOLERANCE = 0.0005
"""Largest difference of a person's mean gap between the lips, mm: one picture off by .04 mm (of 80) shows."""

BLOCKS = 8
"""Blocks along each side of a reference picture."""

REFERENCES = 24
"""Number of reference pictures."""

_RECIPES = {"ict": ict.RECIPES, "anny": anny.RECIPES}

_WHO = ("image", "subject", "frame", "fold", "dataset", "rig", "condition")

EXACT_LABELS: tuple[str, ...] = tuple(
    name for name in label_columns({number: Level(0.0, 0.0) for number in RENDERED_AUS}) if name != intensity_column(25)
)
"""The AU columns that are hashed."""


@dataclass(frozen=True, slots=True)
class Published:
    """What is published about one version of a preset.

    Attributes:
        name, version: of the preset.
        parameters, labels: a digest per person (hexadecimal, the first 16 digits of a SHA-256).
        lip_gaps: mean of the gap between the lips per person, mm.
        pictures: reference picture → BLOCKS × BLOCKS mean colours (R, G, B), row by row.
        made_with: project → version that the published copy was rendered with.
    """

    name: str
    version: int
    parameters: tuple[str, ...]
    labels: tuple[str, ...]
    lip_gaps: tuple[float, ...]
    pictures: Mapping[str, tuple[int, ...]]
    made_with: Mapping[str, str]


@cache
def published(name: str) -> Published:
    """What is published about a preset."""
    content = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8"))
    return Published(
        name=content["name"],
        version=content["version"],
        parameters=tuple(content["parameters"]),
        labels=tuple(content["labels"]),
        lip_gaps=tuple(content["lip_gaps"]),
        pictures={picture: tuple(colours) for picture, colours in content["pictures"].items()},
        made_with=content["made_with"],
    )


def overall(digests: Sequence[str]) -> str:
    """One SHA-256 for the digests of all people."""
    return hashlib.sha256("\n".join(digests).encode()).hexdigest()


def check_parameters(plan: Plan) -> Iterator[None]:
    """Draw everything as rendering does, without rendering, and compare; yields after each person.

    Raises:
        InputError: this machine draws other numbers than the published ones.
    """
    known = published(str(plan.name))
    for number, expected in enumerate(known.parameters):
        if parameters_digest(plan, number) != expected:
            raise InputError(
                f"{_title(plan)}: the parameters drawn here differ from the published ones, first for person {number}; "
                f"NumPy {np.__version__} may draw other numbers than {known.made_with['numpy']}, which they were drawn with"
            )
        yield


def check_labels(plan: Plan, folder: Path) -> None:
    """Compare a rendered folder's labels with the published ones.

    Raises:
        InputError: they differ, or the manifest is missing or lacks a column.
    """
    path = manifest_path(folder)
    people = _by_person(read_manifest(path), plan, path)
    known = published(str(plan.name))
    found = tuple(labels_digest(rows) for rows in people)
    wrong = [number for number in range(plan.people) if found[number] != known.labels[number]]
    if wrong:
        raise InputError(
            f"{path}: the labels of {len(wrong)} of {plan.people} people differ from the published ones of {_title(plan)}, "
            f"first of person {wrong[0]} (clip {wrong[0]:05d})"
        )
    for number, rows in enumerate(people):
        odd = next((row for row in rows if abs(row["AU25_i"] - 5 * lips_apart(row["lip_gap"])) > 1e-3), None)
        if odd is not None:
            raise InputError(f"{path}: AU25_i of {odd['image']} (person {number}) is not what its lip_gap says")
    apart = np.abs(np.array([_mean_gap(rows) for rows in people]) - np.array(known.lip_gaps))
    if not apart.max() <= GAP_TOLERANCE:
        raise InputError(
            f"{path}: lip_gap, and with it AU25_i, differs from the published one of {_title(plan)}, by {apart.max():.4f} mm "
            f"in the mean of person {int(apart.argmax())} (tolerance {GAP_TOLERANCE} mm)"
        )


def check_pictures(plan: Plan, folder: Path) -> float:
    """Compare a rendered folder's reference pictures with the published ones.

    Returns:
        the largest difference found, in grey levels.

    Raises:
        InputError: it is above `PIXEL_TOLERANCE`, or a picture cannot be read.
    """
    largest = 0.0
    for name, colours in published(str(plan.name)).pictures.items():
        apart = float(np.abs(block_means(folder / name).ravel() - np.array(colours)).max())
        if apart > PIXEL_TOLERANCE:
            raise InputError(
                f"{folder / name}: differs from the published picture of {_title(plan)} by up to {apart:.1f} grey levels "
                f"(tolerance {PIXEL_TOLERANCE:g})"
            )
        largest = max(largest, apart)
    return largest


def parameters_digest(plan: Plan, number: int) -> str:
    """Digest of everything that is drawn about a person and its pictures."""
    person, _ = plan.person(number)
    recipe = _RECIPES[person.rig].__getitem__
    shots = [
        plan.shot(person, index, condition, recipe)[0] for index, condition in enumerate(plan.conditions_of(number))
    ]
    return _digest([_plain(person), [_plain(shot) for shot in shots]])


def labels_digest(rows: Sequence[Mapping[str, Any]]) -> str:
    """Digest of one person's rows of the manifest, in the order of their frames."""
    exact = [[row[name] for name in _WHO] + [_ten_thousandths(row[name]) for name in EXACT_LABELS] for row in rows]
    return _digest([[*_WHO, *EXACT_LABELS], exact])


def block_means(picture: Path) -> Floats:
    """(BLOCKS, BLOCKS, 3) mean colours of a picture, RGB, 0–255.

    Raises:
        InputError: the file is missing or is not a picture.
    """
    try:
        content = np.frombuffer(picture.read_bytes(), np.uint8)
    except OSError as error:
        raise InputError(f"{picture}: cannot be read ({(error.strerror or str(error)).lower()})") from None
    image = cv2.imdecode(content, cv2.IMREAD_COLOR_RGB) if content.size else None
    if image is None:
        raise InputError(f"{picture}: not a picture")
    return np.asarray(cv2.resize(image.astype(np.float64), (BLOCKS, BLOCKS), interpolation=cv2.INTER_AREA), np.float64)


def reference_pictures(plan: Plan) -> list[str]:
    """Names of the reference pictures: people evenly spread, the conditions in turn."""
    names = []
    for place in range(REFERENCES):
        number = place * plan.people // REFERENCES
        frame = plan.conditions_of(number).index(CONDITIONS[place % len(CONDITIONS)])
        names.append(f"images/{number:05d}/{frame:03d}.jpg")
    return names


def publish(plan: Plan, folder: Path, made_with: Mapping[str, str]) -> Path:
    """Write down what a finished folder holds, as what is published about this version of the preset.

    Raises:
        InputError: the folder's manifest cannot be read.
    """
    path = manifest_path(folder)
    people = _by_person(read_manifest(path), plan, path)
    record = Published(
        name=str(plan.name),
        version=int(plan.version or 0),
        parameters=tuple(parameters_digest(plan, number) for number in range(plan.people)),
        labels=tuple(labels_digest(rows) for rows in people),
        lip_gaps=tuple(round(_mean_gap(rows), 5) for rows in people),
        pictures={
            name: tuple(int(value) for value in block_means(folder / name).round().ravel())
            for name in reference_pictures(plan)
        },
        made_with=made_with,
    )
    target = FILES / f"{plan.name}.json"
    lines = ",\n".join(f" {json.dumps(key)}: {json.dumps(value)}" for key, value in asdict(record).items())
    with whole_file(target) as scratch:
        scratch.write_text(f"{{\n{lines}\n}}\n", encoding="utf-8")
    return target


def _title(plan: Plan) -> str:
    return f"{plan.name} {plan.version}"


def _by_person(table: pa.Table, plan: Plan, path: Path) -> list[list[dict[str, Any]]]:
    """The manifest's rows of each person, by frame."""
    needed = [*_WHO, "clip", "lip_gap", intensity_column(25), *EXACT_LABELS]
    missing = [name for name in needed if name not in table.column_names]
    if missing:
        raise InputError(f"{path}: has no column {missing[0]}, so it is not {_title(plan)}")
    people: dict[str, list[dict[str, Any]]] = {f"{number:05d}": [] for number in range(plan.people)}
    ordered = table.select(needed).sort_by([("clip", "ascending"), ("frame", "ascending")])
    for row in ordered.to_pylist():
        if row["clip"] not in people:
            raise InputError(f"{path}: holds the clip {row['clip']!r}, which {_title(plan)} does not")
        people[row["clip"]].append(row)
    return list(people.values())


def _mean_gap(rows: Sequence[Mapping[str, Any]]) -> float:
    gaps = [row["lip_gap"] for row in rows]
    return float(np.mean(gaps)) if gaps and None not in gaps else float("nan")


def _ten_thousandths(value: float | None) -> int | None:
    return None if value is None else round(1e4 * value)


def _plain(value: Any) -> Any:
    """The numbers of a dataclass as JSON has them: sorted keys, millionths for floats."""
    if is_dataclass(value) and not isinstance(value, type):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        named = {"".join(map(str, key)) if isinstance(key, tuple) else str(key): item for key, item in value.items()}
        return {key: _plain(item) for key, item in sorted(named.items())}
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return round(1e6 * value) if isinstance(value, float) else value


def _digest(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, separators=(",", ":")).encode()).hexdigest()[:16]
