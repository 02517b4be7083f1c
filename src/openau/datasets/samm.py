"""SAMM: Spontaneous Actions and Micro-Movements.

32 people of 13 ethnicities watch films chosen for them and try to keep a straight face; 159 micro-movements of 29 of them are coded, filmed
at 200 frames/s, 2040×1088, grey.

Layout:
    SAMM_Micro_FACS_Codes_v2.xlsx        13 rows of prose, then one row per clip: Subject, Filename, Inducement Code, Onset Frame, Apex
                                         Frame, Offset Frame, Duration, Micro, Action Units, Estimated Emotion, Objective Classes, Notes
    SAMM/006/006_1_2/006_05562.jpg       the pictures (the folder above the subjects has any name; one named with "crop" comes second)
    The number of a picture's name is the frame number of the spreadsheet. The folders may lie up to three levels deep.

Labels: the AU text of a clip ("4+7", "AU12A or AU14", "L12B"; see `openau.datasets.au_text`) holds for all its frames from onset to
    offset, the column `phase` says where the apex is (`openau.datasets.micro_expressions`). AUs joined by "or" are unknown; AUs not named
    are 0. An AU named without L or R is taken to be on both sides. Intensity letters are left in the column `action_units`.
AUs: whatever the spreadsheet names; `usual_aus` are the four of published AU detection on this data set.
Further columns: `phase`, `emotion` (anger, happiness, other, surprise, contempt, disgust, fear, sadness), `composite`, `objective_class`
    (after Davison et al. 2018), `action_units` (the text). `composite` is the three-class label of cross-database evaluation: happiness →
    positive; anger, contempt, disgust, fear, sadness → negative; surprise → surprise; other has none.
Subjects: `006`–`037`; the spreadsheet may write 6. No published parts: leave one subject out.
Known defects: the apex of 028_4_1 and 032_3_1 is not between onset and offset and is taken as unknown. One public loader also corrects an
    offset; if yours ends before it begins, that row is reported and left out.
Verified in public code: header in row 14, column names and order, subjects as numbers with `%03d` folders, and the two wrong apexes in
    merlib's `clean_doc.py` and loaders beside it; picture names in MOL's README and others; the class mapping in a published loader of the
    MEGC composite data. Not verified: how AU texts are written in detail (anything unreadable is reported and unknown, never 0), and the
    four usual AUs, which are given from memory of the literature.
Licence: by agreement with Manchester Metropolitan University (Moi Hoon Yap); research only.
Cite: Davison et al., SAMM: A spontaneous micro-facial movement dataset, IEEE Transactions on Affective Computing 9(1), 2018; for the
    objective classes: Davison, Merghani, Yap, Objective classes for micro-facial expression recognition, Journal of Imaging 4(10), 2018.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from openau.datasets.clips import Clip, Report
from openau.datasets.micro_expressions import Columns, Layout, read_clips
from openau.facs import AUS

_KNOWN_APEX = frozenset({"028_4_1", "032_3_1"})


def _subject(cell: str) -> str | None:
    return f"{int(cell):03d}" if re.fullmatch(r"\d{1,3}", cell) else None


_LAYOUT = Layout(
    title="SAMM",
    expected="SAMM_Micro_FACS_Codes_v2.xlsx and SAMM/006/006_1_2/006_05562.jpg",
    sheet=r"SAMM.?Micro.?FACS.?Codes.*\.xlsx",
    columns=Columns(
        "Subject", "Filename", "Onset Frame", "Apex Frame", "Offset Frame", "Action Units", "Estimated Emotion"
    ),
    more_columns=MappingProxyType({"Objective Classes": "objective_class"}),
    subject_folder=_subject,
    is_subject_folder=lambda name: re.fullmatch(r"\d{3}", name) is not None,
    composite=MappingProxyType(
        {
            "happiness": "positive",
            "anger": "negative",
            "contempt": "negative",
            "disgust": "negative",
            "fear": "negative",
            "sadness": "negative",
            "surprise": "surprise",
        }
    ),
    subjects=29,
    known_apex=lambda folder, cell: folder in _KNOWN_APEX,
)


class SAMM:
    """Reads SAMM; the module's docstring says how."""

    name = "samm"
    title = "SAMM"
    people = "samm"
    aus = tuple(AUS)
    usual_aus = (2, 4, 7, 12)
    intensity_aus: tuple[int, ...] = ()
    licence = "By agreement with Manchester Metropolitan University (Moi Hoon Yap), for research"
    citation = "Davison et al., SAMM: A spontaneous micro-facial movement dataset, IEEE Transactions on Affective Computing 2018"

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips sorted by name (`openau.datasets.clips.DataSetReader`)."""
        return read_clips(root, _LAYOUT, self.usual_aus, report)


READER = SAMM()
