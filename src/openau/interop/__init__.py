"""Tables in and out of other programs: OpenFace 2.2, Py-Feat, ELAN, BORIS.

>>> faces = read_faces("openface/clip.csv")   # doctest: +SKIP
>>> write_eaf(faces, "clip.eaf", media="clip.mp4")   # doctest: +SKIP
"""

from openau.interop.boris import BORIS_COLUMNS, write_boris
from openau.interop.convert import TARGETS, convert
from openau.interop.elan import write_eaf
from openau.interop.tables import read_faces, tables_in

__all__ = ["BORIS_COLUMNS", "TARGETS", "convert", "read_faces", "tables_in", "write_boris", "write_eaf"]
