"""BP4D, the Binghamton–Pittsburgh 3D dynamic spontaneous facial expression database.

41 young adults (F001–F023, M001–M018) go through eight tasks, T1–T8 (happiness, sadness, surprise, embarrassment, fear,
physical pain, anger, disgust); the most expressive part of each task, some 20 s at 25 frames/s, is coded frame by
frame: about 146,800 frames.

Layout, in any case and order of nesting a zip file leaves, `-` or blanks for `_`:

    AUCoding/AU_OCC/F001_T1.csv             occurrence; also directly in AUCoding
    AUCoding/AU_INT/AU06/F001_T1_AU06.csv   intensity; AU 6, 10, 12, 14, 17; may be absent, which is told
    Sequences/F001/T1/2440.jpg              pictures; `Sequences(2D+3D)`, `2D+3D`, `BP4D-training` … or nothing instead of `Sequences`, and
                                            F001/F001/T1 where an archive was unpacked into a folder of its name

Labels: an occurrence file's first line has a 0 and AU numbers, every other line a frame number and codes: 0 absent, 1
present, 9 not known (NaN here). Numbers that `openau.facs` does not know (AU 19, 29–39, and the 0s of files that list
every number) are left out, and so are AUs that are 9 in a whole recording. An intensity file has lines of frame and
0–5, or 9. A file that breaks these rules is told with its line, and the code is NaN.

Pictures are matched by number, not by name: leading zeros vary between recordings. **Label frames count from 1,
pictures of the original distribution from 0** (label frame f is picture f - 1), while the FERA 2015 edition, on which
the usual lists of frames are built (`F001/T1/2440.jpg`), names its pictures as the labels do. The first applies to all
recordings if any has a picture number 0, and is told as a known defect; `BP4D(first_picture=…)` overrules. Pictures
before the first and after the last coded frame are ignored.

Folds: the published parts of `openau.datasets.folds.BP4D`. The usual results are about 12 AUs: 1 2 4 6 7 10 12 14 15 17
23 24.

Licence: by agreement with Binghamton University (Lijun Yin),
https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html; not redistributable, and not free of charge.

Cite: Zhang, Yin, Cohn, Canavan, Reale, Horowitz, Liu, Girard, "BP4D-Spontaneous: a high-resolution spontaneous 3D
dynamic facial expression database", Image and Vision Computing 32 (2014) 692–706.

Checked in public code, never on the data themselves: occurrence files in ME-GraphAU
(`tool/BP4D_image_label_process.py`) and OpenFace (`extract_BP4D_labels.m`, where column n is AU n and the last one says
"occluded"); the meaning of 9 in OpenFace and in ZhiwenShao/JAANet issue 4; intensity files in OpenFace
(`extract_BP4D_labels_intensity.m`) and in rPPG-Toolbox's tree of BP4D+; varying zeros in two public preparation scripts
that try 3 and 4 digits (one also 2); pictures that count from 0 in one public project on BP4D and, independently, one
on BP4D+ that calls the mapping verified; the FERA edition's numbering in ME-GraphAU's README and lists, which name a
picture by its label frame. Not checked: that all 328 recordings are coded, and which AUs are.
"""

from __future__ import annotations

from openau.datasets import folds
from openau.datasets.au_coding import AUCodingReader


class BP4D(AUCodingReader):
    """Reads BP4D; see the module's text."""

    name = "bp4d"
    title = "BP4D-Spontaneous"
    people = "bp4d"
    licence = (
        "By agreement with Binghamton University: https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
    )
    citation = "Zhang et al., BP4D-Spontaneous, Image and Vision Computing 32 (2014) 692–706"
    subjects = tuple(sorted(subject for part in folds.BP4D.values() for subject in part))
    tasks = tuple(f"T{task}" for task in range(1, 9))
    parts = folds.BP4D


READER = BP4D()
