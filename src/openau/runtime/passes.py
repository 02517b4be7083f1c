"""The two passes of `--calibrate`: detect and note down, then write calibrated rows.

Between the passes every face is one record in an unnamed temporary file (about 300 bytes; 32 MB for half an hour with one person);
of these, one output of one person at a time is in memory.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from itertools import groupby
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from openau.result import AUColumns, Faces
from openau.runtime.detector import Observation
from openau.runtime.network import Prediction
from openau.runtime.neutral import MIN_FRAMES, QUANTILE, calibrate, resting_logits

_OUTPUTS = ("occurrence", "intensity", "left", "right")
_CHUNK = 4096
"""Records read back at a time."""


class Notes:
    """What a first pass saw: faces and logits, on disk; a context manager.

    Args:
        columns: AU columns of the tables.
        landmarks: note the landmarks too (5.6 kB per face), as an overlay needs them.
    """

    def __init__(self, columns: AUColumns, landmarks: bool = False) -> None:
        self.columns = columns
        sides = len(columns.sided)
        widths = {
            "occurrence": len(columns.occurrence),
            "intensity": len(columns.intensity),
            "left": sides,
            "right": sides,
        }
        fields: list[Any] = [("frame", "i8"), ("timestamp", "f8"), ("face_id", "i8"), ("score", "f4")]
        fields += [("box", "f4", 4), ("pose", "f4", 3)]
        fields += [(name, "f4", (width,)) for name, width in widths.items()]
        if columns.extra:
            fields.append(("extra", "f4", (len(columns.extra),)))
        if landmarks:
            fields.append(("landmarks", "f4", (468, 3)))
        self._dtype = np.dtype(fields)
        self._file: IO[bytes] = tempfile.TemporaryFile(prefix="openau-")  # noqa: SIM115 closed in __exit__
        self._resting: dict[int, Prediction] = {}

    def __enter__(self) -> Notes:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def add(self, observation: Observation) -> None:
        """Note one frame."""
        faces = observation.faces
        records = np.zeros(len(faces), self._dtype)
        for name in ("frame", "timestamp", "face_id", "score", "box", "pose"):
            records[name] = getattr(faces, name)
        if len(observation.prediction):
            for name in _OUTPUTS:
                records[name] = getattr(observation.prediction, name)
        if self.columns.extra:
            records["extra"] = faces.values[:, -len(self.columns.extra) :]
        if "landmarks" in (self._dtype.names or ()) and faces.landmarks is not None:
            records["landmarks"] = faces.landmarks
        self._file.write(records.tobytes())

    def people(self, usual: Prediction, quantile: float = QUANTILE, minimum: int = MIN_FRAMES) -> dict[int, int]:
        """Find everyone's resting face; call it between the passes.

        Args:
            usual: one row, the model's usual resting face.
            quantile: see `openau.runtime.neutral`.
            minimum: people seen in fewer frames are left as measured.

        Returns:
            `face_id` → number of frames, of everyone seen; those with at least `minimum` are calibrated.
        """
        self._usual = usual
        self._file.flush()
        counts: dict[int, int] = {}
        for records in self._chunks():
            for person, n in zip(*np.unique(records["face_id"], return_counts=True), strict=True):
                if person >= 0:
                    counts[int(person)] = counts.get(int(person), 0) + int(n)
        for person, n in counts.items():
            if n >= minimum:
                resting = {name: self._resting_output(person, name, quantile) for name in _OUTPUTS}
                self._resting[person] = Prediction(**resting)
        return counts

    def _resting_output(self, person: int, output: str, quantile: float) -> npt.NDArray[np.float32]:
        values = [records[output][records["face_id"] == person] for records in self._chunks()]
        return resting_logits(np.concatenate(values), quantile)[None]

    def frames(self, source: str) -> Iterator[Faces]:
        """The second pass: the frames again, in order, calibrated."""
        for records in self._by_frame():
            if records["face_id"][0] < 0:
                yield Faces.no_face(self.columns, source, int(records["frame"][0]), float(records["timestamp"][0]))
                continue
            values = np.concatenate([self._prediction(record).values() for record in records])
            if self.columns.extra:
                values = np.concatenate([values, records["extra"]], axis=1)
            yield Faces(
                columns=self.columns,
                source=np.full(len(records), source, object),
                values=values,
                landmarks=records["landmarks"].copy() if "landmarks" in (self._dtype.names or ()) else None,
                **{name: records[name].copy() for name in ("frame", "timestamp", "face_id", "score", "box", "pose")},
            )

    def _prediction(self, record: Any) -> Prediction:
        prediction = Prediction(**{name: record[name][None] for name in _OUTPUTS})
        resting = self._resting.get(int(record["face_id"]))
        return prediction if resting is None else calibrate(prediction, resting, self._usual)

    def _by_frame(self) -> Iterator[Any]:
        every = (record for records in self._chunks() for record in records)
        for _, group in groupby(every, key=lambda record: int(record["frame"])):
            yield np.array(list(group), self._dtype)

    def _chunks(self) -> Iterator[Any]:
        self._file.seek(0)
        while block := self._file.read(_CHUNK * self._dtype.itemsize):
            yield np.frombuffer(block, self._dtype)
