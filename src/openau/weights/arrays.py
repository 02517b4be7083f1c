"""Digests of the arrays inside an `.npz`: what stays the same however the file was compressed."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from pathlib import Path

import numpy as np

from openau.errors import WeightsError


def array_hashes(file: Path) -> dict[str, str]:
    """SHA-256 of every array: of its type and shape (as in `<f4 (26719, 3)`), a newline, and its bytes in C order.

    Args:
        file: an `.npz` without Python objects.

    Returns:
        name → 64 hexadecimal digits, sorted by name.

    Raises:
        WeightsError: the file cannot be read, is damaged, or holds objects instead of numbers.
    """
    hashes: dict[str, str] = {}
    try:
        with file.open("rb") as stream, np.lib.npyio.NpzFile(stream, allow_pickle=False) as arrays:
            for name in sorted(arrays.files):
                array = np.ascontiguousarray(arrays[name])
                digest = hashlib.sha256(f"{array.dtype.str} {arrays[name].shape}\n".encode())
                digest.update(array.tobytes())
                hashes[name] = digest.hexdigest()
    except OSError as error:
        raise WeightsError(f"{file}: cannot be read ({error.strerror or error})") from None
    except (ValueError, EOFError, KeyError, AttributeError, zipfile.BadZipFile, zlib.error) as error:
        raise WeightsError(f"{file}: not a file of arrays ({error})") from None
    return hashes
