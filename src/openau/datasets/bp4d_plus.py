"""BP4D+, the multimodal spontaneous emotion corpus (MMSE) of Binghamton and Pittsburgh.

140 people (F001–F082, M001–M058) go through ten tasks; T1, T6, T7 and T8 are coded (560 recordings), in the most
expressive part of each, some 20 s at 25 frames/s. Its people are not those of BP4D, although both have an F001: they
live in a namespace of their own, `bp4d+`.

Layout, labels and numbering of pictures are those of `openau.datasets.bp4d`, with pictures in `2D+3D/F001/T1/`; the
distribution has one archive per person there, `2D+3D/F001.zip`, which have to be unpacked. Intensity: AU 6, 10, 12, 14,
17. Usual results are about the same 12 AUs as BP4D's.

Folds: none are published; `fold` is null, and protocols such as `subject-kfold` draw their own.

Known: public code leaves out F082 and the AU codes of F041's T7 because "data are missing" there, without saying which;
whatever is missing in a copy is told as a problem, not excused.

Licence: by agreement with Binghamton University (Lijun Yin),
https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html.

Cite: Zhang, Girard, Wu, Zhang, Liu, Ciftci, Canavan, Reale, Horowitz, Yang, Cohn, Ji, Yin, "Multimodal spontaneous
emotion corpus for human behavior analysis", CVPR 2016, 3438–3446.

Checked in public code, never on the data themselves: the tree in rPPG-Toolbox (README and issue 237) and in BigSmall
(girishvn/BigSmall, which also reads the occurrence and intensity files and has the exceptions above); AUs of the first
line (1 2 4 5 6 7 9–20 22 23 24 27–39) there; tasks, 560 files, and that label frame f is picture f - 1 in a public
project that cites the user guide v0.2. Not checked: that guide itself.
"""

from __future__ import annotations

from types import MappingProxyType

from openau.datasets.au_coding import AUCodingReader


class BP4DPlus(AUCodingReader):
    """Reads BP4D+; see the module's text."""

    name = "bp4d+"
    title = "BP4D+"
    people = "bp4d+"
    licence = (
        "By agreement with Binghamton University: https://www.cs.binghamton.edu/~lijun/Research/3DFE/3DFE_Analysis.html"
    )
    citation = "Zhang et al., Multimodal spontaneous emotion corpus for human behavior analysis, CVPR 2016"
    subjects = tuple([f"F{number:03d}" for number in range(1, 83)] + [f"M{number:03d}" for number in range(1, 59)])
    tasks = ("T1", "T6", "T7", "T8")
    parts = MappingProxyType({})


READER = BP4DPlus()
