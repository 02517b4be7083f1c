"""Protocols: who is tested, who may be trained on, which AUs are judged. Named so that nobody can mix up test parts.

| name | what it is |
|---|---|
| `bp4d-3fold`, `disfa-3fold` | the published subject-exclusive parts (`openau.datasets.folds`), 12 and 8 AUs |
| `cross:bp4d→disfa`, `cross:disfa→bp4d` | trained on all of one, tested on all of the other, AUs 1 2 4 6 12 (`->` is read as `→`) |
| `data-efficiency:N` | the data set's own three parts, N random labelled training faces each |
| `micro:casme2-loso`, `micro:samm-loso` | leave one subject out, apex frames |
| `micro:composite` | leave one subject out over CASME II and SAMM together |
| `leave-one-dataset-out` | every given data set once as the test |
| `subject-kfold:K:SEED` | K random subject-exclusive parts of anything |
| `facs-bench-3fold`, `facs-bench-cross-rig` | the rendered benchmark: its three parts; one rig tested, the other trained on |
| `facs-bench-data-efficiency:N`, `facs-bench-label-noise:P` | its parts with N training faces, or with P % of the training labels flipped |
| `facs-bench-scarce:P:Q` | its parts with P % of the training people and Q % of their labels flipped |

A part is always called after what is *tested* ("part 1", "disfa", "sub01", "rig anny"), because public repositories disagree on which part
is "fold 1". An identity (namespace of people, subject) is never on both sides of a part. Choosing the epoch is no protocol's business:
validation subjects are drawn from the training rows (`openau.training.splits`).

Whatever is drawn comes from a seed: `data-efficiency:1000:7` draws with seed 7, without it the seed is 0. Smaller draws are part of
larger ones.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from openau.datasets import folds, registry
from openau.datasets.manifest import aus_in, sided_intensity_column
from openau.datasets.people import identities
from openau.errors import InputError, UsageError
from openau.facs import DATASET_AUS, Side, intensity_column, occurrence_column

if TYPE_CHECKING:
    import pyarrow as pa

Index = npt.NDArray[np.intp]
Flags = npt.NDArray[np.bool_]
Texts = npt.NDArray[np.str_]

BENCH = ("facs-bench", "facs-bench-small")
"""Names of the rendered benchmark's data sets."""

BENCH_PARTS = (1, 2, 3)


@dataclass(frozen=True, slots=True, eq=False)
class DataSetRows:
    """One prepared data set of N rows.

    Attributes:
        name: of the data set ("bp4d").
        place: its folder, for messages.
        rows: the manifest.
        identity: (N,) whom each row shows (`openau.datasets.people`).
        usable: (N,) rows that can be trained on (a face was found); all rows are tested.
    """

    name: str
    place: Path
    rows: pa.Table
    identity: Texts
    usable: Flags

    @classmethod
    def of(cls, rows: pa.Table, place: Path, usable: Flags | None = None) -> DataSetRows:
        """A manifest's rows; the data set is named by the column `dataset`, or else by the folder.

        Args:
            rows: the manifest.
            place: its folder.
            usable: (N,) rows that can be trained on; default those with a picture.

        Raises:
            InputError: the manifest is empty or holds several data sets.
        """
        names = sorted(set(rows.column("dataset").to_pylist())) if "dataset" in rows.column_names else [place.name]
        if not rows.num_rows:
            raise InputError(f"{place}: the manifest has no rows")
        if len(names) != 1 or not names[0]:
            raise InputError(f"{place}: the column dataset must name one data set, but names {_some(map(str, names))}")
        if usable is None:
            usable = np.asarray(rows.column("image").is_valid().to_numpy(), bool)
        return cls(str(names[0]), place, rows, identities(rows), usable)


@dataclass(frozen=True, slots=True)
class LabelNoise:
    """Training labels that are flipped.

    Attributes:
        percent: share of each AU's known training labels, 0–100.
        seed: of the draw. A larger share flips what a smaller one flips, and more.
    """

    percent: float
    seed: int


@dataclass(frozen=True, slots=True, eq=False)
class Assignment:
    """One part of a protocol; rows count through the given data sets, one after the other.

    Attributes:
        test_part: what is tested, by name.
        train_rows: rows that may be trained on and draw validation subjects from.
        test_rows: rows to judge, also those without a face.
        aus: AUs to judge.
        noise: to be put into the labels of `train_rows` (`noisy_labels`), or None.
        notes: sentences about this part that a table has to carry.
    """

    test_part: str
    train_rows: Index
    test_rows: Index
    aus: tuple[int, ...]
    noise: LabelNoise | None = None
    notes: tuple[str, ...] = ()


class Protocol(ABC):
    """A way to split data.

    Attributes:
        name: as users type it; it is printed with every result.
    """

    name: str

    @abstractmethod
    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """The parts, in order.

        Args:
            data: the data sets, in any order.

        Raises:
            UsageError: these are not the data sets the protocol is about.
            InputError: what the data sets hold does not make a part; the sentence names what is missing.
        """


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        UsageError: there is none.
    """
    wanted = name.replace("->", "→")
    word, *rest = wanted.split(":")
    if wanted in _FIXED:
        return _FIXED[wanted]
    if word in ("data-efficiency", "facs-bench-data-efficiency") and len(rest) in (1, 2):
        bench = word.startswith("facs-bench")
        return DataEfficiency(
            wanted, _whole(rest[0], name, 1), _seed(rest[1:], name), BENCH if bench else tuple(_KFOLD_OF)
        )
    if word == "facs-bench-label-noise" and len(rest) in (1, 2):
        return NoisyLabels(wanted, _percent(rest[0], name), _seed(rest[1:], name))
    if word == "facs-bench-scarce" and len(rest) in (2, 3):
        return ScarcePeople(wanted, _percent(rest[0], name), _percent(rest[1], name), _seed(rest[2:], name))
    if word == "subject-kfold" and len(rest) in (1, 2):
        return SubjectFolds(wanted, _whole(rest[0], name, 2), _seed(rest[1:], name))
    raise UsageError(f"there is no protocol {name!r}; there are {', '.join(FORMS)}")


# Protocols ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class PublishedFolds(Protocol):
    """The published parts of one data set, by its lists of people; a manifest's `fold` column has to agree with them."""

    name: str
    dataset: str
    parts: folds.Parts
    aus: tuple[int, ...]

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        pool = _Pool(_exactly(self.name, data, {self.dataset}))
        part = self._part_of_rows(data[0])
        missing = {
            number: sorted(set(people) - set(pool.subject[part == number])) for number, people in self.parts.items()
        }
        for number, people in self.parts.items():
            if len(missing[number]) == len(people):
                raise InputError(
                    f"{data[0].place}: part {number} of {self.name} is empty; none of its people is there ({_some(people)})"
                )
        notes = {
            number: [f"part {number}: {len(names)} of {len(self.parts[number])} people are missing ({_some(names)})"]
            for number, names in missing.items()
            if names
        }
        return tuple(
            pool.part(f"part {number}", part != number, part == number, self.aus, notes.get(number, ()))
            for number in self.parts
        )

    def _part_of_rows(self, data: DataSetRows) -> npt.NDArray[np.int64]:
        subjects = np.array(data.rows.column("subject").to_pylist(), np.str_)
        names, position = np.unique(subjects, return_inverse=True)
        numbers = [folds.part_of(str(name), self.parts) for name in names]
        strangers = [str(name) for name, number in zip(names, numbers, strict=True) if number is None]
        if strangers:
            raise InputError(f"{data.place}: {strangers[0]} is in none of the published parts of {self.dataset}")
        part = np.array(numbers, np.int64)[position]
        for row, fold in enumerate(data.rows.column("fold").to_pylist()):
            if fold is not None and fold != part[row]:
                raise InputError(
                    f"{data.place}: the manifest has {subjects[row]} in fold {fold} (row {row + 1}), "
                    f"but {subjects[row]} belongs to the published part {part[row]}"
                )
        return part


@dataclass(frozen=True)
class CrossDomain(Protocol):
    """Trained on everybody of one data set, tested on everybody of another."""

    name: str
    source: str
    target: str
    aus: tuple[int, ...]

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        pool = _Pool(_exactly(self.name, data, {self.source, self.target}))
        return (pool.part(self.target, pool.dataset == self.source, pool.dataset == self.target, self.aus),)


@dataclass(frozen=True)
class DataEfficiency(Protocol):
    """The data set's own parts, with `count` random labelled training faces in each.

    Faces, not people, are drawn, evenly over all training rows on which a face was found. What chooses the epoch comes out of these
    `count` as well: no other labelled face is used.
    """

    name: str
    count: int
    seed: int
    datasets: tuple[str, ...]

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        [one] = _one_of(self.name, data, self.datasets)
        parts = _KFOLD_OF[one.name].assign(data)
        return tuple(self._draw(part, number, one) for number, part in enumerate(parts, start=1))

    def _draw(self, part: Assignment, number: int, data: DataSetRows) -> Assignment:
        there = len(part.train_rows)
        if there < self.count:
            raise InputError(
                f"{data.place}: {self.name} needs {self.count:,} training faces for {part.test_part}, there are {there:,}"
            )
        rng = np.random.default_rng([self.seed, 101, number])
        drawn = np.sort(rng.permutation(part.train_rows)[: self.count])
        return Assignment(part.test_part, drawn, part.test_rows, part.aus, part.noise, part.notes)


@dataclass(frozen=True)
class LeaveOneSubjectOut(Protocol):
    """Every person once as the test, on apex frames (`phase` is "apex") of micro-expression clips, or on all of them.

    The AUs are those the data sets' readers call usual and that at least one of the faces shows; of several data sets, those all share.
    """

    name: str
    datasets: tuple[str, ...]
    apex_only: bool = True

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        pool = _Pool(_exactly(self.name, data, set(self.datasets)))
        chosen = pool.equals("phase", "apex") if self.apex_only else np.ones(len(pool.identity), bool)
        if not chosen.any():
            raise InputError(f"{data[0].place}: no row is an apex frame (column phase), which {self.name} judges")
        usual = set.intersection(*(set(registry.reader(name).usual_aus) for name in self.datasets))
        aus = tuple(number for number in sorted(usual) if (pool.label(number)[chosen] > 0.5).any())
        if not aus:
            raise InputError(f"{data[0].place}: no face shows any of the AUs that {self.name} judges")
        labelled = chosen & pool.labelled(aus)
        people = sorted(set(pool.identity[labelled]))
        return tuple(
            pool.part(str(who), labelled & (pool.identity != who), labelled & (pool.identity == who), aus, tell=False)
            for who in people
        )


@dataclass(frozen=True)
class LeaveOneDataSetOut(Protocol):
    """Every given data set once as the test, the others for training, on the AUs that all of them code.

    Rows of people who are also in the tested data set are left out of training.
    """

    name: str = "leave-one-dataset-out"

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        names = [one.name for one in data]
        if len(set(names)) < 2 or len(set(names)) != len(names):
            raise UsageError(f"{self.name} needs two or more different data sets, but {_given(data)}")
        aus = tuple(sorted(set.intersection(*(set(aus_in(one.rows)) for one in data))))
        if not aus:
            raise InputError(f"there is no AU that all of {', '.join(names)} code")
        pool = _Pool(data)
        return tuple(self._part(pool, name, aus) for name in names)

    @staticmethod
    def _part(pool: _Pool, name: str, aus: tuple[int, ...]) -> Assignment:
        test = pool.dataset == name
        also_tested = ~test & np.isin(pool.identity, np.unique(pool.identity[test]))
        people = len(set(pool.identity[also_tested]))
        note = [f"{name}: {also_tested.sum()} training rows of {people} people who are also tested are left out"]
        return pool.part(name, ~test & ~also_tested, test, aus, note if people else ())


@dataclass(frozen=True)
class SubjectFolds(Protocol):
    """K random parts with about equally many people each, of one or several data sets; judged are the AUs that all of them code."""

    name: str
    parts: int
    seed: int

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        if not data:
            raise UsageError(f"{self.name} needs a data set")
        pool = _Pool(data)
        aus = tuple(sorted(set.intersection(*(set(aus_in(one.rows)) for one in data))))
        people = np.unique(pool.identity[pool.labelled(aus)])
        if len(people) < self.parts:
            raise InputError(f"{data[0].place}: {len(people)} people cannot be dealt into {self.parts} parts")
        dealt = np.random.default_rng([self.seed, 102]).permutation(people)
        tested = [np.isin(pool.identity, dealt[start :: self.parts]) for start in range(self.parts)]
        return tuple(pool.part(f"part {number}", ~test, test, aus) for number, test in enumerate(tested, start=1))


@dataclass(frozen=True)
class BenchFolds(Protocol):
    """The three subject-exclusive parts with which the rendered benchmark is made (its `fold` column)."""

    name: str = "facs-bench-3fold"

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        pool = _Pool(_one_of(self.name, data, BENCH))
        part = np.array([-1 if fold is None else fold for fold in data[0].rows.column("fold").to_pylist()])
        odd = sorted(set(part.tolist()) ^ set(BENCH_PARTS))
        if odd:
            raise InputError(f"{data[0].place}: the column fold must hold 1, 2 and 3; {odd[0]} breaks this")
        people, first = np.unique(pool.identity, return_index=True)
        home = part[first][np.searchsorted(people, pool.identity)]
        cut = np.flatnonzero(home != part)
        if len(cut):
            raise InputError(f"{data[0].place}: {pool.identity[cut[0]]} is in fold {home[cut[0]]} and {part[cut[0]]}")
        aus = aus_in(data[0].rows)
        return tuple(pool.part(f"part {number}", part != number, part == number, aus) for number in BENCH_PARTS)


@dataclass(frozen=True)
class CrossRig(Protocol):
    """One rig's faces are tested, the other's trained on."""

    name: str = "facs-bench-cross-rig"

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        pool = _Pool(_one_of(self.name, data, BENCH))
        rigs = sorted(set(pool.column("rig")))
        if len(rigs) < 2:
            raise InputError(
                f"{data[0].place}: {self.name} needs faces of two rigs, the column rig names {_some(rigs)}"
            )
        aus = aus_in(data[0].rows)
        return tuple(pool.part(f"rig {rig}", ~pool.equals("rig", rig), pool.equals("rig", rig), aus) for rig in rigs)


@dataclass(frozen=True)
class NoisyLabels(Protocol):
    """The rendered benchmark's parts with flipped training labels; test labels stay as they are.

    Of each AU's known training labels `percent` % are drawn and turned into their opposite, whatever they were; validation subjects come
    from the same training rows, so what chooses the epoch is as noisy.
    """

    name: str
    percent: float
    seed: int

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        noise = LabelNoise(self.percent, self.seed)
        return tuple(
            Assignment(part.test_part, part.train_rows, part.test_rows, part.aus, noise, part.notes)
            for part in BenchFolds(self.name).assign(data)
        )


@dataclass(frozen=True)
class ScarcePeople(Protocol):
    """The rendered benchmark's parts with few of the training people, all faces of each, and with flipped labels.

    At least two people are drawn, since one of them chooses the epoch. `people` is a share of a part's training people, `percent` of their
    labels (see `NoisyLabels`).
    """

    name: str
    people: float
    percent: float
    seed: int

    def assign(self, data: Sequence[DataSetRows]) -> tuple[Assignment, ...]:
        """See `Protocol`."""
        parts = BenchFolds(self.name).assign(data)
        return tuple(self._draw(part, number, data[0]) for number, part in enumerate(parts, start=1))

    def _draw(self, part: Assignment, number: int, data: DataSetRows) -> Assignment:
        identity = data.identity[part.train_rows]
        everybody = np.unique(identity)
        count = min(len(everybody), max(2, round(len(everybody) * self.people / 100)))
        drawn = np.random.default_rng([self.seed, 107, number]).permutation(everybody)[:count]
        noise = LabelNoise(self.percent, self.seed) if self.percent else None
        rows = part.train_rows[np.isin(identity, drawn)]
        note = f"{part.test_part}: trained on {count} of {len(everybody)} people"
        return Assignment(part.test_part, rows, part.test_rows, part.aus, noise, (*part.notes, note))


BP4D = PublishedFolds("bp4d-3fold", "bp4d", folds.BP4D, DATASET_AUS["bp4d"])
DISFA = PublishedFolds("disfa-3fold", "disfa", folds.DISFA, DATASET_AUS["disfa"])

_KFOLD_OF: Mapping[str, Protocol] = MappingProxyType(
    {"bp4d": BP4D, "disfa": DISFA, **dict.fromkeys(BENCH, BenchFolds())}
)
"""Data set → its own three parts."""

_FIXED: Mapping[str, Protocol] = MappingProxyType(
    {
        one.name: one
        for one in (
            BP4D,
            DISFA,
            CrossDomain("cross:bp4d→disfa", "bp4d", "disfa", DATASET_AUS["bp4d+disfa"]),
            CrossDomain("cross:disfa→bp4d", "disfa", "bp4d", DATASET_AUS["bp4d+disfa"]),
            LeaveOneSubjectOut("micro:casme2-loso", ("casme2",)),
            LeaveOneSubjectOut("micro:samm-loso", ("samm",)),
            LeaveOneSubjectOut("micro:composite", ("casme2", "samm")),
            LeaveOneSubjectOut("micro:casme2-loso:all-frames", ("casme2",), apex_only=False),
            LeaveOneSubjectOut("micro:samm-loso:all-frames", ("samm",), apex_only=False),
            LeaveOneSubjectOut("micro:composite:all-frames", ("casme2", "samm"), apex_only=False),
            LeaveOneDataSetOut(),
            BenchFolds(),
            CrossRig(),
        )
    }
)

FORMS: tuple[str, ...] = (
    *_FIXED, "data-efficiency:N", "subject-kfold:K:SEED", "facs-bench-data-efficiency:N", "facs-bench-label-noise:P",
    "facs-bench-scarce:P:Q",
)  # fmt: skip
"""Every protocol's name, with capitals where a number goes."""


# Label noise ----------------------------------------------------------------------------------------------------------


def noisy_labels(rows: pa.Table, train_rows: Index, aus: Sequence[int], noise: LabelNoise) -> pa.Table:
    """The rows with flipped occurrence labels in the training rows.

    A flipped face's intensity and sides of that AU become unknown: they would betray the label.

    Args:
        rows: all rows.
        train_rows: of these, where labels may be flipped.
        aus: whose labels are flipped.
        noise: how many.
    """
    import pyarrow as pa

    for number in aus:
        name = occurrence_column(number)
        truth = _numbers(rows, name)
        known = train_rows[~np.isnan(truth[train_rows])]
        count = round(len(known) * noise.percent / 100)
        flipped = np.random.default_rng([noise.seed, 103, number]).permutation(known)[:count]
        truth[flipped] = 1 - truth[flipped]
        kind = rows.schema.field(name).type
        rows = _put(rows, name, pa.array(truth, mask=np.isnan(truth)).cast(kind))
        for other in _beside(number):
            if other in rows.column_names:
                hidden = np.zeros(rows.num_rows, bool)
                hidden[flipped] = True
                rows = _put(rows, other, _without(rows.column(other), hidden))
    return rows


def _beside(number: int) -> list[str]:
    """Columns that say more about an AU than whether it shows."""
    sides: tuple[Side, Side] = ("L", "R")
    of_sides = [
        name for side in sides for name in (occurrence_column(number, side), sided_intensity_column(number, side))
    ]
    return [intensity_column(number), *of_sides]


def _put(rows: pa.Table, name: str, values: object) -> pa.Table:
    return rows.set_column(rows.column_names.index(name), name, values)


def _without(values: pa.ChunkedArray, hidden: Flags) -> pa.ChunkedArray:
    """The values with nulls where they are hidden."""
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pa.array(hidden), pa.scalar(None, values.type), values)


# What protocols share -------------------------------------------------------------------------------------------------


class _Pool:
    """Several data sets' rows as one."""

    def __init__(self, data: Sequence[DataSetRows]) -> None:
        self._data = data
        self.identity: Texts = np.concatenate([one.identity for one in data])
        self.subject: Texts = self.column("subject")
        self.dataset: Texts = np.concatenate([np.full(len(one.identity), one.name) for one in data])
        self._usable = np.concatenate([one.usable for one in data])
        self._labels: dict[int, npt.NDArray[np.float32]] = {}

    def column(self, name: str) -> Texts:
        """A free column as text.

        Raises:
            InputError: a data set has no such column.
        """
        for one in self._data:
            if name not in one.rows.column_names:
                raise InputError(f"{one.place}: the manifest has no column {name}")
        return np.concatenate([np.array([str(v) for v in one.rows.column(name).to_pylist()]) for one in self._data])

    def equals(self, name: str, value: str) -> Flags:
        """Where a free column holds this."""
        return np.asarray(self.column(name) == value)

    def label(self, number: int) -> npt.NDArray[np.float32]:
        """(N,) occurrence, NaN where unknown."""
        if number not in self._labels:
            name = occurrence_column(number)
            self._labels[number] = np.concatenate([_numbers(one.rows, name) for one in self._data])
        return self._labels[number]

    def labelled(self, aus: Sequence[int]) -> Flags:
        """Rows on which at least one of the AUs is known."""
        return np.asarray(np.any([~np.isnan(self.label(number)) for number in aus], axis=0))

    def part(
        self, name: str, train: Flags, test: Flags, aus: tuple[int, ...], notes: Sequence[str] = (), tell: bool = True
    ) -> Assignment:
        """One part, checked.

        Args:
            name: what is tested.
            train: rows to train on; those without a face or a label fall away.
            test: rows to judge; those without a label fall away.
            aus: to judge.
            notes: to go with it.
            tell: add a note for every AU that nobody in the test or the training part shows.

        Raises:
            InputError: a side is empty.
            ValueError: somebody is on both sides: a defect of the protocol.
        """
        labelled = self.labelled(aus)
        train_rows, test_rows = np.flatnonzero(train & labelled & self._usable), np.flatnonzero(test & labelled)
        for side, rows in (("test", test_rows), ("train on", train_rows)):
            if not len(rows):
                places = ", ".join(str(one.place) for one in self._data)
                raise InputError(f"{places}: there is no labelled face to {side} for {name}")
        both = set(self.identity[train_rows]) & set(self.identity[test_rows])
        if both:
            raise ValueError(f"{name}: {_some(sorted(both))} would be trained on and tested")
        told = [*notes, *(self._lacking(name, train_rows, test_rows, aus) if tell else ())]
        return Assignment(name, train_rows, test_rows, aus, notes=tuple(told))

    def _lacking(self, name: str, train: Index, test: Index, aus: tuple[int, ...]) -> list[str]:
        notes = []
        for where, rows, so in (
            ("tested", test, "it cannot be judged there"),
            ("training", train, "it cannot be learned"),
        ):
            absent = [str(number) for number in aus if not (self.label(number)[rows] > 0.5).any()]
            if absent:
                notes.append(f"{name}: no {where} face shows AU {', '.join(absent)}, so {so}")
        return notes


def _numbers(rows: pa.Table, name: str) -> npt.NDArray[np.float32]:
    if name not in rows.column_names:
        return np.full(rows.num_rows, np.nan, np.float32)
    return np.array(rows.column(name).to_numpy(zero_copy_only=False), np.float32)


def _exactly(name: str, data: Sequence[DataSetRows], wanted: set[str]) -> Sequence[DataSetRows]:
    if sorted(one.name for one in data) != sorted(wanted):
        raise UsageError(
            f"{name} needs exactly the data set{'s' * (len(wanted) > 1)} {' and '.join(sorted(wanted))}, but {_given(data)}"
        )
    return data


def _one_of(name: str, data: Sequence[DataSetRows], wanted: tuple[str, ...]) -> Sequence[DataSetRows]:
    if len(data) != 1 or data[0].name not in wanted:
        raise UsageError(f"{name} is about one of {', '.join(wanted)}, but {_given(data)}")
    return data


def _given(data: Sequence[DataSetRows]) -> str:
    return "given is " + (", ".join(f"{one.name} ({one.place})" for one in data) or "nothing")


def _some(names: Iterable[object]) -> str:
    listed = list(names)
    return " ".join(map(str, listed[:8])) + (f" and {len(listed) - 8} more" if len(listed) > 8 else "")


def _whole(text: str, name: str, least: int) -> int:
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name}: {text!r} must be a whole number, at least {least}")
    return int(text)


def _seed(rest: Sequence[str], name: str) -> int:
    return _whole(rest[0], name, 0) if rest else 0


def _percent(text: str, name: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageError(f"{name}: {text!r} must be a share in per cent, 0 to 100")
    return value
