"""Who is trained on, who chooses the epoch, who is held out: splits never cut through a subject."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from openau.datasets.people import identities
from openau.errors import InputError, UsageError

if TYPE_CHECKING:
    import pyarrow as pa

Index = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class HoldOut:
    """Which rows are kept away from training.

    Attributes:
        kind: "subjects" a random share of the subjects, "fold" one fold, "rig" all faces of one rig, "none".
        value: the share (0–1), the fold, the rig's name; empty for "none".
    """

    kind: Literal["subjects", "fold", "rig", "none"]
    value: str = ""

    @classmethod
    def parse(cls, text: str) -> HoldOut:
        """Read `subjects=0.2`, `fold=3`, `rig=anny` or `none`.

        Raises:
            UsageError: the text is none of these.
        """
        kind, _, value = text.partition("=")
        if kind == "none" and not value:
            return cls("none")
        if kind == "subjects" and _is_share(value):
            return cls("subjects", value)
        if kind == "fold" and value.lstrip("-").isdigit():
            return cls("fold", value)
        if kind == "rig" and value:
            return cls("rig", value)
        raise UsageError(f"{text!r} is no hold-out; use subjects=0.2, fold=3, rig=anny or none")

    def __str__(self) -> str:
        return f"{self.kind}={self.value}" if self.value else self.kind


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Row numbers of the three parts; no subject is in two of them."""

    train: Index
    validation: Index
    test: Index


def split_subjects(
    rows: pa.Table,
    train_rows: Index,
    test_rows: Index,
    validation: float,
    seed: int,
    usable: npt.NDArray[np.bool_],
) -> Split:
    """Split a protocol's training rows into training and validation subjects.

    Args:
        rows: with `subject`, and `people` where the data has it.
        train_rows: rows of the people one may learn from.
        test_rows: rows of the people who are tested.
        validation: share of the training people that choose the epoch (at least one person if not 0).
        seed: of the draw; use the same one for members of an ensemble.
        usable: (N,) rows that may be used at all.

    Raises:
        InputError: somebody is to be trained on and tested, or nothing would be left to train on.
    """
    subjects = identities(rows)
    test = np.unique(subjects[test_rows])
    candidates = np.unique(subjects[train_rows])
    both = np.intersect1d(test, candidates)
    if len(both):
        raise InputError(f"the subject {both[0]} is in the training part and in the test part")
    shuffled = list(np.random.default_rng([seed, 7]).permutation(candidates))
    watchers = shuffled[: _watchers(validation, len(shuffled))]
    if len(watchers) >= len(shuffled):
        raise InputError(
            f"the training part holds {len(shuffled)} subjects, too few to train on and to choose the epoch with"
        )
    is_watched = np.isin(subjects[train_rows], watchers)
    parts = (train_rows[~is_watched], train_rows[is_watched], test_rows)
    train, watched, tested = (np.unique(part[usable[part]]) for part in parts)
    if not len(train):
        raise InputError("no face is left to train on")
    return Split(train, watched, tested)


def split_rows(rows: pa.Table, hold_out: HoldOut, validation: float, seed: int, usable: npt.NDArray[np.bool_]) -> Split:
    """Split a manifest's rows.

    The validation subjects are drawn from those not held out; the test part is never looked at while training. A subject who appears
    in the test part is in no other part, even if only some of its rows were named.

    Args:
        rows: with `subject`, and `fold` or `rig` where the hold-out names them.
        hold_out: what to keep away.
        validation: share of the remaining subjects that choose the epoch (at least one subject if not 0).
        seed: of the draws; use the same one for members of an ensemble.
        usable: (N,) rows that may be used at all.

    Raises:
        UsageError: the hold-out names nothing in this data.
        InputError: nothing would be left to train or validate on.
    """
    subjects = identities(rows)
    shuffled = _shuffled(subjects, seed)
    held = _held_out(rows, subjects, hold_out, shuffled)
    remaining = [subject for subject in shuffled if subject not in held]
    count = _watchers(validation, len(remaining))
    watchers = set(remaining[:count])
    if len(remaining) <= count:
        raise InputError(
            f"holding out {hold_out} leaves {len(remaining)} subjects, too few to train on and to choose the epoch with"
        )
    is_test = np.isin(subjects, sorted(held))
    is_validation = np.isin(subjects, sorted(watchers))
    parts = (~is_test & ~is_validation, is_validation, is_test)
    train, watched, test = (np.flatnonzero(part & usable) for part in parts)
    if not len(train):
        raise InputError("no face is left to train on")
    return Split(train, watched, test)


def held_out_rows(rows: pa.Table, hold_out: HoldOut, seed: int, usable: npt.NDArray[np.bool_]) -> Index:
    """The test part of `split_rows` alone, for judging: it may be all the data there is.

    Raises:
        UsageError: the hold-out names nothing in this data.
    """
    subjects = identities(rows)
    held = _held_out(rows, subjects, hold_out, _shuffled(subjects, seed))
    found = np.flatnonzero(np.isin(subjects, sorted(held)) & usable)
    if not len(found):
        raise UsageError(f"{hold_out} names no usable face of this data")
    return found


def _watchers(share: float, subjects: int) -> int:
    return max(1, round(share * subjects)) if share > 0 else 0


def _shuffled(subjects: npt.NDArray[np.str_], seed: int) -> list[str]:
    return list(np.random.default_rng([seed, 7]).permutation(sorted(set(subjects))))


def _held_out(
    rows: pa.Table, subjects: npt.NDArray[np.str_], hold_out: HoldOut, shuffled: list[str]
) -> Collection[str]:
    if hold_out.kind == "none":
        return set()
    if hold_out.kind == "subjects":
        return set(shuffled[: max(1, round(float(hold_out.value) * len(shuffled)))])
    if hold_out.kind not in rows.column_names:
        raise UsageError(f"the data has no column {hold_out.kind}, so {hold_out} cannot be held out")
    values = np.array([str(value) for value in rows.column(hold_out.kind).to_pylist()])
    held = set(subjects[values == hold_out.value])
    if not held:
        raise UsageError(f"no row has {hold_out}; there are {', '.join(sorted(set(values)))}")
    return held


def _is_share(value: str) -> bool:
    try:
        return 0 < float(value) < 1
    except ValueError:
        return False
