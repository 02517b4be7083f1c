"""BORIS's aggregated events: a row per event, subject = face, behaviour = AU.

The columns are those of BORIS's export "Aggregated events" as CSV (export_events.py of version 9), without modifiers and independent
variables. What there is no answer to is `NA`, as BORIS writes it, or empty where BORIS leaves a field empty.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from openau.facs import au
from openau.interop.elan import timed
from openau.outputs import whole_file
from openau.result import Faces
from openau.temporal.events import RULE, Event, EventRule, events_of

BORIS_COLUMNS = (
    "Observation id", "Observation date", "Description", "Observation type", "Source", "Time offset (s)",
    "Coding duration", "Media duration (s)", "FPS (frame/s)", "Subject",
    "Observation duration by subject by observation", "Behavior", "Behavioral category", "Behavior type", "Start (s)",
    "Stop (s)", "Duration (s)", "Media file name", "Image index start", "Image index stop", "Image file path start",
    "Image file path stop", "Comment start", "Comment stop",
)  # fmt: skip


def write_boris(faces: Faces, path: str | os.PathLike[str], rule: EventRule = RULE) -> list[Event]:
    """Write the AU events of all recordings of a table as BORIS's aggregated events.

    An observation is a source, a subject a face (`face 0`), a behaviour an AU with its name, of the category of its part of the face. The
    comment at the start tells the highest probability, intensity and the time of the apex.

    Args:
        faces: the table.
        path: the CSV.
        rule: what makes an event.

    Returns:
        The events written.

    Raises:
        UsageError: the table tells no times.
        OutputError: the file cannot be written.
    """
    events = events_of(timed(faces), rule)
    seconds = {source: _seconds(faces.timestamp[faces.source == source]) for source in dict.fromkeys(faces.source)}
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(BORIS_COLUMNS)
    for event in events:
        writer.writerow(list(_cells(event, *seconds[event.source])))
    with whole_file(Path(path)) as scratch:
        scratch.write_text(buffer.getvalue(), encoding="utf-8", newline="")
    return events


def _seconds(times: np.ndarray[tuple[int], np.dtype[np.float64]]) -> tuple[float, float]:
    """Duration of a recording and its frames per second (0 where one frame tells neither)."""
    moments = np.unique(times)
    if len(moments) < 2:
        return 0.0, 0.0
    step = float(np.median(np.diff(moments)))
    return float(moments[-1]) + step, 1 / step


def _cells(event: Event, duration: float, rate: float) -> Iterator[str]:
    unit = au(event.au)
    graded = "" if np.isnan(event.peak_intensity) else f", intensity {event.peak_intensity:.1f}"
    about = f"peak {event.peak:.2f}{graded} at {event.apex:.3f} s"
    row = {
        "Observation id": event.source,
        "Observation type": "MEDIA",
        "Source": f"player #1:{event.source}",
        "Time offset (s)": "0.0",
        "Coding duration": f"{duration:.3f}",
        "Media duration (s)": f"{duration:.3f}",
        "FPS (frame/s)": f"{rate:.3f}",
        "Subject": f"face {event.face_id}",
        "Observation duration by subject by observation": f"{duration:.3f}",
        "Behavior": f"{unit.column} {unit.name}",
        "Behavioral category": unit.region,
        "Behavior type": "STATE",
        "Start (s)": f"{event.onset:.3f}",
        "Stop (s)": f"{event.offset:.3f}",
        "Duration (s)": f"{event.duration:.3f}",
        "Media file name": event.source,
        "Image index start": str(event.onset_frame),
        "Image index stop": str(event.last_frame),
        "Image file path start": "NA",
        "Image file path stop": "NA",
        "Comment start": about,
    }
    return (row.get(name, "") for name in BORIS_COLUMNS)
