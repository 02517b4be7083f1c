"""CASME II: Chinese Academy of Sciences Micro-Expressions, second edition.

26 people watch films in a laboratory and try to keep a straight face; 247 micro-expressions in the paper, 255 rows in the spreadsheet,
filmed at 200 frames/s, 640×480.

Layout:
    CASME2-coding-20140508.xlsx                    one row per clip: Subject, Filename, OnsetFrame, ApexFrame, OffsetFrame,
                                                   Action Units, Estimated Emotion
    CASME2-RAW/sub01/EP02_01f/img1.jpg             the whole picture (also named CASME2_RAW, CASME2_RAW_selected), preferred
    Cropped/sub01/EP02_01f/reg_img46.jpg           registered and cropped by the publishers
    The number of a picture's name is the frame number of the spreadsheet. The folders may lie up to three levels deep.

Labels: the AU text of a clip ("4+7", "R4", "4+L12+?"; see `openau.datasets.au_text`) holds for all its frames from onset to offset, the
    column `phase` says where the apex is (`openau.datasets.micro_expressions`). AUs not named are 0, but unknown where the text has "?".
    An AU named without L or R is taken to be on both sides. Intensity is not coded.
AUs: whatever the spreadsheet names; `usual_aus` are the eight of published AU detection on this data set.
Further columns: `phase`, `emotion` (happiness, disgust, repression, surprise, sadness, fear, others), `composite`, `action_units` (the
    text). `composite` is the three-class label of cross-database evaluation: happiness → positive, disgust and repression → negative,
    surprise → surprise; sadness, fear and others have none, as in public code (9 clips of sadness and fear are usually left out).
Subjects: `sub01`–`sub26`; the spreadsheet writes 1–26. No published parts: leave one subject out.
Known defects: the apex of some clips is "/" (not coded; 20 rows according to public code) and is taken as unknown; one row has a wrong
    offset; sub16/EP01_08 lacks frames in `Cropped`. Published results may suffer from data leakage (arXiv 2211.11425).
Verified in public code: columns, "/" and the missing frames in `clean_doc.py` of merlib; subjects as numbers, `sub%02d` folders, and
    `reg_img%d.jpg` or `img%d.jpg` by the spreadsheet's numbers there and in several other loaders; the class mapping and the wrong offset
    in a loader of the MEGC composite data; "R14" among AU texts in another. Not verified: the complete list of AU texts (anything
    unreadable is reported and unknown, never 0), and the eight usual AUs, which are given from memory of the literature.
Licence: by agreement with the Institute of Psychology, Chinese Academy of Sciences (casme.psych.ac.cn); research only.
Cite: Yan et al., CASME II: An improved spontaneous micro-expression database and the baseline evaluation, PLoS ONE 9(1), 2014.
"""

from __future__ import annotations

import re
from pathlib import Path
from types import MappingProxyType

from openau.datasets.clips import Clip, Report
from openau.datasets.micro_expressions import Columns, Layout, read_clips
from openau.facs import AUS


def _subject(cell: str) -> str | None:
    found = re.fullmatch(r"(?:sub)?0*(\d{1,3})", cell, re.IGNORECASE)
    return f"sub{int(found[1]):02d}" if found else None


_LAYOUT = Layout(
    title="CASME II",
    expected="CASME2-coding-20140508.xlsx and CASME2-RAW/sub01/EP02_01f/img1.jpg (or Cropped/sub01/EP02_01f/reg_img46.jpg)",
    sheet=r"CASME2.?coding.*\.xlsx",
    columns=Columns(
        "Subject", "Filename", "OnsetFrame", "ApexFrame", "OffsetFrame", "Action Units", "Estimated Emotion"
    ),
    more_columns=MappingProxyType({}),
    subject_folder=_subject,
    is_subject_folder=lambda name: re.fullmatch(r"sub\d+", name, re.IGNORECASE) is not None,
    composite=MappingProxyType(
        {"happiness": "positive", "disgust": "negative", "repression": "negative", "surprise": "surprise"}
    ),
    subjects=26,
    known_apex=lambda folder, cell: cell == "/",
)


class CASME2:
    """Reads CASME II; the module's docstring says how."""

    name = "casme2"
    title = "CASME II"
    people = "casme2"
    aus = tuple(AUS)
    usual_aus = (1, 2, 4, 7, 12, 14, 15, 17)
    intensity_aus: tuple[int, ...] = ()
    licence = (
        "By agreement with the Institute of Psychology, Chinese Academy of Sciences (casme.psych.ac.cn), for research"
    )
    citation = "Yan et al., CASME II: An improved spontaneous micro-expression database and the baseline evaluation, PLoS ONE 2014"

    def read(self, root: Path, report: Report) -> list[Clip]:
        """Clips sorted by name (`openau.datasets.clips.DataSetReader`)."""
        return read_clips(root, _LAYOUT, self.usual_aus, report)


READER = CASME2()
