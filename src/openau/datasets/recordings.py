"""Which folder or file stands for each published recording or person, and which of its pictures belongs to which frame number.

Pictures are known by the number in their names, with or without leading zeros; recordings and people by names without regard to case.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from openau.datasets.clips import NO_PICTURE, Integers, PictureFiles, Problem, Report
from openau.datasets.label_files import LabelFile

_PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff")
_LAST_NUMBER = re.compile(r"(\d+)\D*$")
_COPY_MARKS = re.compile(r"([\s_-]*(copy|kopie|copie))?([\s_-]*\(\d+\)|[\s_-]+\d+)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True, eq=False)
class Pictures:
    """The M numbered pictures of a folder, ascending.

    Attributes:
        folder: where they are.
        number: (M,) the numbers in their names.
        paths: of the files.
    """

    folder: Path
    number: Integers
    paths: tuple[Path, ...]


def one_each(
    paths: Sequence[Path], known: Sequence[str], like: re.Pattern[str], what: str, report: Report
) -> dict[str, Path]:
    """Known name → the path that bears it (without its suffix), in the order of `known`.

    An exact name is preferred to one in another case. Copies (`sn001 copy`, `F001_T1 (1).csv`, `SN001 2`) and names that look
    like the known ones but are not are left out, and told.

    Args:
        paths: folders, or files of one kind.
        known: the names there should be.
        like: what names of this sort look like; paths that do not begin like that are something else and ignored.
        what: the sort, for problems ("subject").
        report: takes "duplicate …" and "unknown …" problems.
    """
    originals = {name.lower(): name for name in known}
    found: dict[str, Path] = {}
    for path in sorted(paths, key=lambda path: (_name(path) not in originals.values(), path)):
        name = _name(path)
        marks = like.match(name)
        if marks is None:
            continue
        bearer = originals.get(marks[0].lower())
        if bearer is None:
            report(Problem(f"unknown {what}", path, f"{marks[0]} is not among the published {what}s; it is left out"))
        elif marks.end() == len(name) and bearer not in found:
            found[bearer] = path
        elif _COPY_MARKS.fullmatch(name[marks.end() :]):
            report(Problem(f"duplicate {what}", path, f"looks like a copy of {bearer}; it is left out"))
    return {name: found[name] for name in known if name in found}


def tell_missing_subjects(here: Sequence[str], all_subjects: Sequence[str], folder: Path, report: Report) -> None:
    """Tell whom a data set lacks: half a data set would otherwise go unnoticed until its results disappoint."""
    gone = [subject for subject in all_subjects if subject not in here]
    if gone:
        reason = (
            f"has labels of {len(all_subjects) - len(gone)} of {len(all_subjects)} subjects, without {', '.join(gone)}"
        )
        report(Problem("missing subject", folder, reason))


def holds_pictures(folder: Path) -> bool:
    """Whether there is any picture in a folder."""
    with os.scandir(folder) as entries:
        return any(entry.name.lower().endswith(_PICTURES) for entry in entries)


def numbered_pictures(folder: Path, report: Report) -> Pictures:
    """Pictures of a folder by the last number in their names.

    Two pictures of one number are told; the first by name is taken.
    """
    with os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.lower().endswith(_PICTURES))
    found: dict[int, str] = {}
    for name in names:
        match = _LAST_NUMBER.search(name[: name.rindex(".")])
        if name.startswith(".") or match is None:
            continue
        number = int(match[1])
        if number in found:
            reason = f"has the same frame number as {found[number]}; it is left out"
            report(Problem("duplicate picture", folder / name, reason, number))
            continue
        found[number] = name
    numbers = np.array(sorted(found), np.int64)
    return Pictures(folder, numbers, tuple(folder / found[number] for number in numbers.tolist()))


def first_number(chosen: int | None, folder: Path, pictures: Mapping[str, Pictures], report: Report) -> int:
    """Number of the picture of label frame 1: `chosen`, or 0 where any recording has a picture number 0, else 1.

    Labels count from 1 and a picture number 0 can therefore be no label's own number; where there is one, pictures count from 0.
    That the two differ is told as a known defect.
    """
    if chosen is not None:
        return chosen
    if not any(len(some.number) and some.number[0] == 0 for some in pictures.values()):
        return 1
    reason = "pictures count from 0 and labels from 1: label frame f is picture f - 1"
    report(Problem("picture numbering", folder, reason, known=True))
    return 0


def place(
    frame: Integers, offset: int, pictures: Pictures, labels: LabelFile, report: Report
) -> tuple[PictureFiles, Integers]:
    """Give each coded frame its picture.

    Args:
        frame: (N,) coded frames, ascending.
        offset: number of a frame's picture minus the frame.
        pictures: of the recording.
        labels: whose path and lines are named in problems.
        report: takes "label without frame", and "frame without label" for pictures between the first and the last coded frame; beyond
            these, recordings are simply not coded.

    Returns:
        The pictures from the first to the last coded frame; (N,) where each frame is among them, or `NO_PICTURE`.
    """
    wanted = frame + offset
    start, stop = np.searchsorted(pictures.number, [wanted[0], wanted[-1] + 1])
    number, paths = pictures.number[start:stop], pictures.paths[start:stop]
    index = np.minimum(np.searchsorted(number, wanted), max(len(number) - 1, 0))
    there = number[index] == wanted if len(number) else np.zeros(len(wanted), bool)
    position = np.where(there, index, NO_PICTURE).astype(np.int64)
    lines = dict(zip(labels.frame.tolist(), labels.line.tolist(), strict=True))
    for missing in frame[~there].tolist():
        reason = f"frame {missing} has labels, but there is no picture {missing + offset} in {pictures.folder}"
        report(Problem("label without frame", labels.path, reason, lines.get(missing)))
    for spare in np.flatnonzero(~np.isin(number, wanted)).tolist():
        reason = f"has no labels, though frames before and after it are coded in {labels.path.name}"
        report(Problem("frame without label", paths[spare], reason, int(number[spare]) - offset))
    return PictureFiles(paths), position


def no_pictures(frame: Integers) -> tuple[PictureFiles, Integers]:
    """What `place` returns for a recording without any picture."""
    return PictureFiles(()), np.full(len(frame), NO_PICTURE, np.int64)


def _name(path: Path) -> str:
    return path.name if path.is_dir() else path.stem
