"""A detector whose process dies of certain files, as one does of a fault in a decoder."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from openau.runtime import Detector


class DyingDetector(Detector):
    """Dies of every file named `fatal…`, and once of `unlucky…`: a file beside it remembers."""

    def open(self, path, *arguments):
        file = Path(path)
        remembered = file.with_suffix(".died")
        if file.name.startswith("fatal") or (file.name.startswith("unlucky") and not remembered.exists()):
            remembered.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().open(path, *arguments)


def make(model: str) -> Detector:
    """A `DyingDetector` of a model."""
    return DyingDetector(model)
