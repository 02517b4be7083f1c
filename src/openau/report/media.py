"""The videos and pictures that a table is about, found on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from openau.errors import InputError
from openau.result import Faces


def find_media(faces: Faces, near: Sequence[Path], named: Sequence[Path]) -> dict[str, Path]:
    """Source → its file, for the sources whose file is found.

    Nothing is taken that was not named: without `named` there is no media, even if the sources' files lie where the table says, because a
    report with faces in it is something one has to ask for.

    Args:
        faces: the table.
        near: folders in which relative names may be meant.
        named: files and folders the user named. A file belongs to the source of its name, or to the only source there is.

    Raises:
        InputError: something that was named does not exist, or a file belongs to no source.
    """
    sources = list(dict.fromkeys(str(name) for name in faces.source))
    found: dict[str, Path] = {}
    for path in named:
        if not path.exists():
            raise InputError(f"{path}: there is no such file or folder")
        if path.is_dir():
            for source in sources:
                file = next((f for f in _candidates(source, path, near) if f.is_file()), None)
                if file is not None:
                    found.setdefault(source, file)
            continue
        ours = [s for s in sources if _name(s) == path.name or Path(s).stem == path.stem]
        if not ours and len(sources) == 1:
            ours = sources
        if not ours:
            raise InputError(f"{path}: the table is about {', '.join(sources[:3])}, not about this file")
        found.update(dict.fromkeys(ours, path))
    return found


def _candidates(source: str, folder: Path, near: Sequence[Path]) -> list[Path]:
    """Where a source's file may lie, given the folder that was named."""
    plain = source.replace("\\", "/")
    return [folder / plain, folder / _name(source), *(base / plain for base in near if folder in (base, base / plain))]


def _name(source: str) -> str:
    return source.replace("\\", "/").rsplit("/", 1)[-1]
