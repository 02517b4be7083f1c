"""CK+: the Extended Cohn-Kanade data set.

123 people pose (and in some sequences smile by themselves) from a neutral face to a peak: 593 sequences, 640×490 or 640×480, mostly grey.

Layout:
    cohn-kanade-images/S005/001/S005_001_00000001.png
    FACS/S005/001/S005_001_00000011_facs.txt            one file per sequence: the peak, its last picture (folder also named FACS_labels)
    Emotion/S005/001/S005_001_00000011_emotion.txt      327 of the sequences (folder also named Emotion_labels)
    Landmarks are not read. The folders may lie up to three levels deep.

Labels: a line per AU with its intensity A–E as 1–5; 0 means present with an intensity that was not coded (NaN here). AUs without a line are
    absent. Two rows per sequence by default: the coded peak, and the first picture as a neutral face without any AU, which the publishers
    say it is, but did not code. `CKPlus(neutral=False)` leaves the neutral faces out, `CKPlus(last=3)` gives the last three pictures the
    codes of the peak; both are habits of publications.
AUs: all that CK+ codes and OpenAU names; others (21, 29, 31, 34, 38, 39, head movements) are left out and told. `usual_aus` are the 17 that
    its paper reports.
Further columns: `emotion` (neutral, anger, contempt, disgust, fear, happy, sadness, surprise; null where there is no label), `phase`
    ("neutral" or "peak").
Subjects: `S005` … `S999`, 123 of them. No published parts: leave one subject out is usual.
Known defects: a few subjects have pictures but no codes (they are told); the read-me writes one example path with a zero too many.
Verified: counts, "from the neutral face to the peak", one FACS file per sequence at its last picture, the emotion numbers and their 327
    files in the read-me of the distribution (quoted on several pages); 0 as "present" in a training script beside Py-Feat; folder and
    file names in four public loaders. Not verified: the 17 usual AUs, which are given from memory of the paper.
Licence: by agreement with Jeffrey Cohn, University of Pittsburgh (jeffcohn.net/resources); research only, pictures of few people may be
    printed.
Cite: Lucey et al., The Extended Cohn-Kanade dataset (CK+): A complete dataset for action unit and emotion-specified expression, CVPR-W
    2010; Kanade, Cohn, Tian, Comprehensive database for facial expression analysis, FG 2000.
"""

from __future__ import annotations

import re
from collections import Counter
from math import isnan, nan
from pathlib import Path

import numpy as np

from openau.datasets.clips import NO_PICTURE, Clip, Floats, Integers, PictureFiles, Problem, Report
from openau.datasets.facs_text import FacsFile, read_facs, read_number
from openau.datasets.layout import existing_folder, files, named, nearest, subfolders, tell_if_fewer_subjects
from openau.datasets.recordings import Pictures, numbered_pictures

EMOTIONS = ("neutral", "anger", "contempt", "disgust", "fear", "happy", "sadness", "surprise")
"""Names of the emotion numbers 0–7."""

_SUBJECTS = 123
_IMAGES = "cohn-kanade-images"
_FACS = r".*?(\d+)_facs\.txt"
_EMOTION = r".*?_emotion\.txt"


class CKPlus:
    """Reads CK+; the module's docstring says how.

    Args:
        last: how many of the last pictures of a sequence get the codes of the peak.
        neutral: whether the first picture becomes a row without any AU.
    """

    name = "ck+"
    title = "Extended Cohn-Kanade (CK+)"
    people = "ck+"
    aus = (1, 2, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 20, 23, 24, 25, 26, 27, 28, 43, 45)
    usual_aus = (1, 2, 4, 5, 6, 7, 9, 11, 12, 15, 17, 20, 23, 24, 25, 26, 27)
    intensity_aus = tuple(au for au in aus if au not in (43, 45))
    licence = "By agreement with Jeffrey Cohn, University of Pittsburgh, for research"
    citation = "Lucey et al., The Extended Cohn-Kanade dataset (CK+), CVPR-W 2010"

    def __init__(self, last: int = 1, neutral: bool = True) -> None:
        self.last = last
        self.neutral = neutral

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips sorted by name (`openau.datasets.clips.DataSetReader`)."""
        images = nearest(existing_folder(root, self.title), [_IMAGES], self.title, f"the folder {_IMAGES}")
        facs = nearest(root, ["FACS", "FACS_labels"], self.title, "the folder FACS or FACS_labels")
        emotions = named(facs.parent, "Emotion", "Emotion_labels")
        if emotions is None:
            report(
                Problem(
                    "missing folder",
                    facs.parent / "Emotion",
                    "there are no emotion labels; `emotion` is unknown at every peak",
                )
            )
        others: Counter[int] = Counter()
        sequences = [one for place in (images, facs) for person in subfolders(place) for one in subfolders(person)]
        names = sorted({f"{one.parent.name}/{one.name}" for one in sequences})
        clips = []
        for name in names:
            clip = self._clip(name, images, facs, emotions, others, report)
            if clip is not None:
                clips.append(clip)
        for au, count in sorted(others.items()):
            report(Problem("AU without a column", facs, f"AU {au} is in {count} sequences and left out", known=True))
        tell_if_fewer_subjects(len({clip.subject for clip in clips}), _SUBJECTS, facs, report)
        return clips

    def _clip(
        self, name: str, images: Path, facs: Path, emotions: Path | None, others: Counter[int], report: Report
    ) -> Clip | None:
        """One sequence, or None (and a problem) if it is not coded."""
        label = _only(facs / name, _FACS, report)
        if label is None:
            report(Problem("frame without label", images / name, "this sequence has no file with AUs; it is left out"))
            return None
        if (images / name).is_dir():
            found = numbered_pictures(images / name, report)
        else:
            report(Problem("missing folder", images / name, f"there are codes for it in {label.name}, but no pictures"))
            found = Pictures(images / name, np.zeros(0, np.int64), ())
        numbers = found.number
        peak = int(re.sub(_FACS, r"\1", label.name, flags=re.IGNORECASE))
        frame, is_peak = self._frames(numbers, peak)
        position = np.array([_index(numbers, int(number)) for number in frame], np.int64)
        if peak not in numbers and len(numbers):
            report(Problem("label without frame", label, f"the coded picture {peak} is not in {images / name}", peak))
        coded = read_facs(label, report)
        others.update(coded.others | (coded.codes.keys() - set(self.aus)))
        emotion = _emotion(emotions / name, report) if emotions is not None else None
        return Clip(
            subject=name.split("/")[0],
            name=name,
            media=PictureFiles(found.paths),
            frame=frame,
            position=position,
            occurrence={au: _at_peak(is_peak, _present(coded, au)) for au in self.aus},
            intensity={au: _at_peak(is_peak, _strength(coded, au)) for au in self.intensity_aus},
            extra={
                "emotion": [emotion if at else EMOTIONS[0] for at in is_peak],
                "phase": ["peak" if at else "neutral" for at in is_peak],
            },
        )

    def _frames(self, numbers: Integers, peak: int) -> tuple[Integers, list[bool]]:
        """The rows' frame numbers, ascending, and which of them are at the peak."""
        before = numbers[numbers < peak]
        peaks = [*before[len(before) - min(self.last - 1, len(before)) :].tolist(), peak]
        neutral = [int(before[0])] if self.neutral and len(before) and before[0] not in peaks else []
        return np.array([*neutral, *peaks], np.int64), [*[False] * len(neutral), *[True] * len(peaks)]


def _only(folder: Path, pattern: str, report: Report) -> Path | None:
    """The one label file of a sequence, the last by name if there are more."""
    found = files(folder, pattern) if folder.is_dir() else []
    if len(found) > 1:
        report(
            Problem(
                "duplicate label file", found[0], f"the sequence has {len(found)} of them; {found[-1].name} is taken"
            )
        )
    return found[-1] if found else None


def _index(numbers: Integers, number: int) -> int:
    at = int(np.searchsorted(numbers, number))
    return at if at < len(numbers) and numbers[at] == number else NO_PICTURE


def _emotion(folder: Path, report: Report) -> str | None:
    label = _only(folder, _EMOTION, report)
    if label is None:
        return None
    number = read_number(label, 0, len(EMOTIONS) - 1, report)
    return None if number is None else EMOTIONS[round(number)]


def _present(coded: FacsFile, au: int) -> float:
    code = coded.code(au, absent=-1)
    return nan if isnan(code) else float(code >= 0)


def _strength(coded: FacsFile, au: int) -> float:
    """0 if absent, 1–5, or NaN: for an AU that is there, CK+ writes 0 where nobody coded how strong it is."""
    code = coded.code(au, absent=-1)
    return {-1.0: 0.0, 0.0: nan}.get(code, code)


def _at_peak(is_peak: list[bool], value: float) -> Floats:
    return np.where(is_peak, value, 0).astype(np.float32)


READER = CKPlus()
