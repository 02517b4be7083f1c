"""UNBC-McMaster Shoulder Pain Expression Archive.

25 people with shoulder pain move the affected and the other arm; 200 sequences, 48,398 frames, each FACS-coded, 320×240.

Layout:
    Images/042-ll042/ll042t1aaaff/ll042t1aaaff001.png
    Frame_Labels/FACS/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt    one line per AU: number, intensity and two more columns
    Frame_Labels/PSPI/042-ll042/ll042t1aaaff/ll042t1aaaff001_facs.txt    one number
    AAM_landmarks and Sequence_Labels are not read. The folders may lie up to three levels deep.

Labels: an AU without a line is absent, an empty file is a face without any. Intensity A–E is 1–5; occurrence is intensity ≥ 1 (some
    publications binarise at 2 or higher: the intensity columns are there for that). AU43 is coded as present or not, without intensity.
    The meaning of the last two columns of a line is not told in the sources we read; they are not used.
AUs: 4 6 7 9 10 12 20 25 26 27 43; OpenFace and others use all but 27.
Folds: 1–5, the parts of a public five-fold split (every fifth subject); part 1 is what OpenFace holds out. Leaving one subject out is
    as usual.
Further columns: `pspi`, the Prkachin–Solomon pain intensity 0–16 of the frame: AU4 + max(AU6, AU7) + max(AU9, AU10) + AU43.
Subjects: folders like `042-ll042`, 25 of them.
Known defects: none that we know of; AUs beyond the list occur in the files in small numbers and are left out and told.
Verified in public code: both label folders, file names, empty files and the four columns in `extract_UNBC_labels.m` of OpenFace, in a
    training script beside Py-Feat and in five more loaders; the subjects in `find_UNBC.m` of OpenFace, the five parts in a loader that
    names them; the PSPI formula in a read-me. Not verified: whether AU43's number is always 1 (anything above 0 counts), and how many
    frames other AUs are in.
Licence: by agreement with its authors (Patrick Lucey, Jeffrey Cohn), research only; it is reported to be no longer distributed.
Cite: Lucey et al., Painful data: The UNBC-McMaster shoulder pain expression archive database, FG 2011.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from openau.datasets.clips import Clip, Floats, Problem, Report
from openau.datasets.facs_text import FacsFile, read_facs, read_number
from openau.datasets.label_files import LabelFile
from openau.datasets.layout import existing_folder, files, named, nearest, subfolders
from openau.datasets.recordings import no_pictures, numbered_pictures, place, tell_missing_subjects

_NAMES = """
042-ll042 043-jh043 047-jl047 048-aa048 049-bm049 052-dr052 059-fn059 064-ak064 066-mg066 080-bn080 092-ch092 095-tv095 096-bg096
097-gf097 101-mg101 103-jk103 106-nm106 107-hs107 108-th108 109-ib109 115-jy115 120-kz120 121-vw121 123-jh123 124-dn124
"""
SUBJECTS = tuple(_NAMES.split())
"""Everybody, as folders are named."""

PARTS = 5
"""Number of published parts; the subject at index i is in part i mod 5 + 1."""

_HIGHEST_PSPI = 16
_LABEL = r".*?(\d+)_facs\.txt"


class UNBC:
    """Reads the UNBC-McMaster archive; the module's docstring says how."""

    name = "unbc"
    title = "UNBC-McMaster Shoulder Pain Expression Archive"
    people = "unbc"
    aus = (4, 6, 7, 9, 10, 12, 20, 25, 26, 27, 43)
    usual_aus = (4, 6, 7, 9, 10, 12, 20, 25, 26, 43)
    intensity_aus = (4, 6, 7, 9, 10, 12, 20, 25, 26, 27)
    licence = "By agreement with its authors (Patrick Lucey, Jeffrey Cohn), for research"
    citation = "Lucey et al., Painful data: The UNBC-McMaster shoulder pain expression archive database, FG 2011"

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips sorted by name (`openau.datasets.clips.DataSetReader`)."""
        expected = "Images/042-ll042/ll042t1aaaff and Frame_Labels/FACS/042-ll042/ll042t1aaaff"
        labels = nearest(existing_folder(root, self.title), ["Frame_Labels"], self.title, expected)
        images = nearest(root, ["Images"], self.title, expected)
        facs = nearest(labels, ["FACS"], f"the frame labels of {self.title}", "FACS/042-ll042/ll042t1aaaff")
        scores = named(labels, "PSPI") or labels / "PSPI"
        others: Counter[int] = Counter()
        clips = [
            clip
            for person in subfolders(facs)
            for sequence in subfolders(person)
            if (clip := self._clip(f"{person.name}/{sequence.name}", facs, scores, images, others, report)) is not None
        ]
        self._tell_unlabelled(images, {clip.name for clip in clips}, report)
        for au, count in sorted(others.items()):
            reason = f"AU {au} is in {count} frames and left out: it is not among the coded AUs of this data set"
            report(Problem("AU without a column", facs, reason, known=True))
        tell_missing_subjects([clip.subject for clip in clips], SUBJECTS, facs, report)
        return sorted(clips, key=lambda clip: clip.name)

    def _clip(
        self, name: str, facs: Path, scores: Path, images: Path, others: Counter[int], report: Report
    ) -> Clip | None:
        folder = facs / name
        numbered = _numbered(folder)
        if not numbered:
            report(Problem("missing labels", folder, "holds no label file like ll042t1aaaff001_facs.txt"))
            return None
        frame = np.array(list(numbered), np.int64)
        coded = [read_facs(path, report) for path in numbered.values()]
        for one in coded:
            others.update(one.others | (one.codes.keys() - set(self.aus)))
        if (images / name).is_dir():
            by_frame = LabelFile(folder, frame, frame, np.zeros((len(frame), 0), np.float32))
            media, position = place(frame, 0, numbered_pictures(images / name, report), by_frame, report)
        else:
            report(Problem("missing folder", images / name, "there are labels, but no pictures"))
            media, position = no_pictures(frame)
        subject = name.split("/")[0]
        return Clip(
            subject=subject,
            name=name,
            media=media,
            frame=frame,
            position=position,
            occurrence={au: _present(_codes(coded, au)) for au in self.aus},
            intensity={au: _codes(coded, au) for au in self.intensity_aus},
            fold=SUBJECTS.index(subject) % PARTS + 1 if subject in SUBJECTS else None,
            extra={"pspi": _scores(scores / name, list(numbered), report)},
        )

    def _tell_unlabelled(self, images: Path, named: set[str], report: Report) -> None:
        for person in subfolders(images):
            for sequence in subfolders(person):
                if f"{person.name}/{sequence.name}" not in named:
                    report(Problem("frame without label", sequence, "this sequence of pictures has no label files"))


def _numbered(folder: Path) -> dict[int, Path]:
    """Frame number → label file, ascending."""
    found = ((re.fullmatch(_LABEL, path.name, re.IGNORECASE), path) for path in files(folder, _LABEL))
    return dict(sorted((int(match[1]), path) for match, path in found if match))


def _codes(coded: Sequence[FacsFile], au: int) -> Floats:
    return np.array([one.code(au) for one in coded], np.float32)


def _present(codes: Floats) -> Floats:
    return np.where(np.isnan(codes), codes, codes > 0).astype(np.float32)


def _scores(folder: Path, frames: Sequence[int], report: Report) -> list[float | None]:
    """PSPI of each frame; None where there is no file for it."""
    if not folder.is_dir():
        report(Problem("missing folder", folder, "there are no PSPI scores for this sequence"))
        return [None] * len(frames)
    numbered = _numbered(folder)
    missing = [frame for frame in frames if frame not in numbered]
    if missing:
        reason = f"lacks the PSPI of {len(missing)} of {len(frames)} frames, the first is {missing[0]}"
        report(Problem("missing labels", folder, reason, missing[0]))
    return [read_number(numbered[frame], 0, _HIGHEST_PSPI, report) if frame in numbered else None for frame in frames]


READER = UNBC()
