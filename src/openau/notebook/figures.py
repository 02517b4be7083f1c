"""Figures of `Faces`, drawn by Matplotlib (extra `plots`) without touching its global state."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from openau.errors import MissingExtraError
from openau.facs import au, occurrence_column
from openau.result import NO_FACE, Faces
from openau.temporal.events import RULE, EventRule, events_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MOST_FACES = 6
_BLUE, _ORANGE, _GREY = "#0072B2", "#D55E00", "#8A8A8A"
PRESENT = 0.5


def bars(faces: Faces) -> Figure:
    """A panel per face with a bar per AU.

    Pictures: the probability. Recordings: the share of a person's frames in which the AU was present. At most six faces, the first ones.

    Raises:
        MissingExtraError: Matplotlib is not installed.
        ValueError: the table holds no face.
    """
    panels = _panels(faces)[:MOST_FACES]
    if not panels:
        raise ValueError("there is no face in this table to plot")
    numbers = sorted(faces.columns.occurrence)
    figure = _figure(4.6 * len(panels), max(2.4, 0.7 + 0.23 * len(numbers)))
    axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    for axis, (title, label, values) in zip(axes, panels, strict=True):
        places = np.arange(len(numbers))
        strength = np.array([values[n] for n in numbers])
        colours = [_BLUE if v >= PRESENT or label != "probability" else _GREY for v in strength]
        axis.barh(places, np.nan_to_num(strength), color=colours, height=0.7)
        if label == "probability":
            axis.axvline(PRESENT, color="#444444", linewidth=0.8, linestyle="--")
        axis.set_yticks(places, [f"AU{n} {au(n).name}" for n in numbers], fontsize=8)
        axis.set_xlim(0, 1)
        axis.set_ylim(len(numbers) - 0.5, -0.5)
        axis.set_xlabel(label)
        axis.set_title(title, fontsize=10)
        _plain(axis)
    return figure


def timeline(faces: Faces, face_id: int | None = None, rule: EventRule = RULE) -> Figure:
    """A row per AU that made an event: its probability over time, its events shaded, their apexes marked.

    Args:
        faces: a table that holds one recording.
        face_id: whom to show; None: the face seen longest.
        rule: what makes an event.

    Raises:
        MissingExtraError: Matplotlib is not installed.
        ValueError: the table holds no recording or several, or nobody of this number.
    """
    ours = faces[faces.has_face]
    sources = list(dict.fromkeys(ours.source.tolist()))
    if len(sources) != 1 or len(np.unique(ours.frame)) < 2:
        raise ValueError(f"a timeline is of one recording; this table holds faces of {len(sources)} sources")
    if face_id is None:
        numbers, counts = np.unique(ours.face_id, return_counts=True)
        face_id = int(numbers[counts.argmax()])
    own = ours[ours.face_id == face_id]
    if face_id == NO_FACE or not len(own):
        raise ValueError(f"there is no face {face_id} in this table")
    events = [event for event in events_of(faces, rule) if event.face_id == face_id]
    shown = sorted({event.au for event in events}) or sorted(faces.columns.occurrence)
    figure = _figure(9.0, max(2.0, 0.9 + 0.42 * len(shown)))
    axes = figure.subplots(len(shown), 1, sharex=True, squeeze=False)[:, 0]
    times, gaps = _with_gaps(own)
    for axis, number in zip(axes, shown, strict=True):
        for event in events:
            if event.au == number:
                axis.axvspan(event.onset, event.offset, color=_BLUE, alpha=0.18, linewidth=0)
                axis.plot(event.apex, 1.0, marker="v", color=_ORANGE, markersize=4, clip_on=False)
        values = np.insert(own.column(occurrence_column(number)).astype(np.float64), gaps, np.nan)
        axis.plot(times, values, color=_BLUE, linewidth=1)
        axis.axhline(PRESENT, color=_GREY, linewidth=0.6, linestyle="--")
        axis.set_ylim(0, 1)
        axis.set_yticks([])
        axis.set_ylabel(f"AU{number} {au(number).name}", rotation=0, ha="right", va="center", fontsize=8)
        _plain(axis)
    axes[-1].set_xlabel("seconds")
    axes[-1].set_xlim(float(times[0]), max(float(times[-1]), float(times[0]) + 1e-3))
    figure.suptitle(f"{sources[0]}, face {face_id}", fontsize=10)
    return figure


def _with_gaps(own: Faces) -> tuple[np.ndarray[Any, np.dtype[np.float64]], np.ndarray[Any, np.dtype[np.intp]]]:
    """Times with one more wherever the face was away, and where those are inserted."""
    steps = np.diff(own.timestamp)
    gaps = np.flatnonzero(steps > 2.5 * np.median(steps)) + 1 if len(steps) else np.zeros(0, np.intp)
    return np.insert(own.timestamp, gaps, (own.timestamp[gaps - 1] + own.timestamp[gaps]) / 2), gaps


def _panels(faces: Faces) -> list[tuple[str, str, dict[int, float]]]:
    """Title, what is shown, and AU → value, per face."""
    found = []
    for name in dict.fromkeys(faces.source.tolist()):
        ours = faces[(faces.source == name) & faces.has_face]
        if len(np.unique(faces.frame[faces.source == name])) < 2:
            for row in range(len(ours)):
                values = {n: float(ours.column(occurrence_column(n))[row]) for n in ours.columns.occurrence}
                found.append((f"{name}, face {ours.face_id[row]}", "probability", values))
            continue
        for person in np.unique(ours.face_id):
            own = ours[ours.face_id == person]
            shares = {}
            for n in own.columns.occurrence:
                values_of_n = own.column(occurrence_column(n))
                known = values_of_n[~np.isnan(values_of_n)]
                shares[n] = float((known >= PRESENT).mean()) if len(known) else 0.0
            found.append((f"{name}, face {person}", "share of the time", shares))
    return found


def _figure(width: float, height: float) -> Figure:
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtraError(
            "plots need Matplotlib, which is not installed; run: pip install 'openau[plots]'"
        ) from None
    return Figure(figsize=(width, height), layout="constrained")


def _plain(axis: Any) -> None:
    for side in ("top", "right"):
        axis.spines[side].set_visible(False)
