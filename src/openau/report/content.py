"""What a report says, worked out of a table: who was seen, what they did, how sure one can be."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from openau.errors import InputError, UsageError
from openau.facs import au, intensity_column, occurrence_column
from openau.report.keyframes import KeyFrame, choose, thumbnails
from openau.report.series import encode, reduce
from openau.report.statistics import PRESENT, AUSummary, SideSummary, Together, sides, summarise, together
from openau.result import Faces
from openau.temporal.events import RULE, Event, EventRule, events_of

MOST_PEOPLE = 12
"""Faces with a timeline and tables of their own; of more, those seen longest."""
POINTS = 80_000
"""Points on all timelines together: what keeps a page small."""
POINTS_EACH = 40_000
MOST_EVENTS = 20_000
"""Events on all timelines together, the longest ones first."""
KEY_FRAMES = 8
MOST_PICTURES = 150
"""Faces of pictures that are listed one by one; their statistics are those of all."""
FAR_YAW = 40.0
"""Degrees of yaw beyond which models are not trained."""
SMALL_FACE = 40.0
"""Pixels of a face's longer side below which models are not trained."""


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One input.

    Attributes:
        name: as it was named.
        kind: "recording" or "picture".
        frames: rows' frames.
        with_face: share of the frames with a face.
        faces: number of different faces.
        seconds: duration; 0 for a picture.
        media: the file, if the report may use it.
    """

    name: str
    kind: str
    frames: int
    with_face: float
    faces: int
    seconds: float
    media: Path | None


@dataclass(frozen=True, slots=True)
class Flag:
    """Something to know about how well faces were seen.

    Attributes:
        name: what.
        share: of the faces (or frames) it is true of; NaN for a number that is no share.
        detail: in words.
    """

    name: str
    share: float
    detail: str


@dataclass(frozen=True, slots=True)
class Person:
    """Someone seen in a recording; or everyone seen in pictures.

    Attributes:
        label: for people.
        source: the recording; "" for pictures.
        faces: the rows.
        seconds: for how long the face was seen; 0 for pictures.
        events, summaries, sides, together: what they did.
        key_frames: pictures of it.
    """

    label: str
    source: str
    faces: Faces
    seconds: float
    events: tuple[Event, ...]
    summaries: tuple[AUSummary, ...]
    sides: tuple[SideSummary, ...]
    together: Together
    key_frames: tuple[KeyFrame, ...] = ()

    @property
    def is_recording(self) -> bool:
        """Whether there is a timeline."""
        return bool(self.source)


@dataclass(frozen=True, slots=True)
class Content:
    """All that a report says about its faces.

    Attributes:
        sources: the inputs.
        people: those with a timeline and tables, the longest seen first; pictures last.
        left_out: faces in recordings that were seen too briefly to be among them.
        flags: about quality.
        pictures: rows of pictures' faces that are listed one by one.
        aus: AUs of the table.
        sided: those with sides.
    """

    sources: tuple[SourceRow, ...]
    people: tuple[Person, ...]
    left_out: int
    flags: tuple[Flag, ...]
    pictures: tuple[tuple[str, dict[int, float]], ...]
    aus: tuple[int, ...]
    sided: tuple[int, ...] = field(default=())


def gather(faces: Faces, media: Mapping[str, Path] | None = None, rule: EventRule = RULE) -> Content:
    """Work out a report's content.

    Args:
        faces: the table: recordings, pictures, or both.
        media: source → its file, for key frames; a source that is not named, or whose file is missing, has none.
        rule: what makes an event.

    Raises:
        InputError: the table is empty, or its times do not increase.
        UsageError: a recording tells no times.
    """
    if not len(faces):
        raise InputError("the table holds no rows, so there is nothing to report")
    if not faces.columns.occurrence:
        raise InputError("the table holds no AU columns, so there is nothing to report")
    faces = replace(faces, landmarks=None)
    sources, recordings, pictures = [], [], []
    people: list[Person] = []
    for name, rows in _by_source(faces).items():
        own = faces[rows]
        file = (media or {}).get(name)
        row = _source(name, own, file if file is not None and file.is_file() else None)
        sources.append(row)
        if row.kind == "picture":
            pictures.append(rows)
        else:
            recordings.append((row, own))
    for row, own in recordings:
        people += _people(row, own, rule, several=len(recordings) > 1)
    people.sort(key=lambda person: -len(person.faces))
    shown = [_with_key_frames(person, sources) for person in people[:MOST_PEOPLE]]
    listed: list[tuple[str, dict[int, float]]] = []
    if pictures:
        still = faces[np.concatenate(pictures)]
        still = still[still.has_face]
        listed = _listed(still)
        if len(still):
            shown.append(_everyone(still))
    return Content(
        tuple(sources),
        tuple(shown),
        max(0, len(people) - MOST_PEOPLE),
        tuple(_flags(faces)),
        tuple(listed),
        tuple(sorted(faces.columns.occurrence)),
        tuple(sorted(faces.columns.sided)),
    )


def _by_source(faces: Faces) -> dict[str, npt.NDArray[np.intp]]:
    """Rows of each source, in the order of their first ones."""
    names, which = np.unique(faces.source.astype(str), return_inverse=True)
    order = np.argsort(which, kind="stable")
    bounds = np.searchsorted(which[order], np.arange(len(names) + 1))
    rows = {str(name): order[bounds[i] : bounds[i + 1]] for i, name in enumerate(names)}
    return dict(sorted(rows.items(), key=lambda item: int(item[1][0])))


def _source(name: str, own: Faces, media: Path | None) -> SourceRow:
    frames = np.unique(own.frame)
    seen = np.unique(own.frame[own.has_face])
    kind = "recording" if len(frames) > 1 else "picture"
    if kind == "recording" and np.isnan(own.timestamp).any():
        raise UsageError(f"{name}: the table tells no times; say how many frames a second has (--rate)")
    seconds = float(own.timestamp.max() - own.timestamp.min()) + _step(own) if kind == "recording" else 0.0
    several = len(np.unique(own.face_id[own.has_face])) if kind == "recording" else int(own.has_face.sum())
    return SourceRow(name, kind, len(frames), len(seen) / len(frames), several, seconds, media)


def _step(own: Faces) -> float:
    """Usual distance of two frames, seconds."""
    steps = np.diff(np.unique(own.timestamp))
    return float(np.median(steps)) if len(steps) else 0.0


def _people(row: SourceRow, own: Faces, rule: EventRule, several: bool) -> list[Person]:
    try:
        events = events_of(own, rule)
    except ValueError as error:
        raise InputError(str(error)) from None
    step = _step(own)
    found = []
    for number in np.unique(own.face_id[own.has_face]):
        faces = own[own.face_id == number]
        theirs = tuple(event for event in events if event.face_id == number)
        seconds = len(faces) * step
        label = f"{row.name}, face {number}" if several else f"face {number}"
        found.append(
            Person(
                label, row.name, faces, seconds, theirs, tuple(summarise(faces, theirs, seconds)), tuple(sides(faces)),
                together(faces),
            )
        )  # fmt: skip
    return found


def _everyone(still: Faces) -> Person:
    """The faces of all pictures, whose events are none."""
    label = "1 face in a picture" if len(still) == 1 else f"{len(still)} faces in pictures"
    return Person(
        label, "", still, 0.0, (), tuple(summarise(still, (), 0.0)), tuple(sides(still)), together(still)
    )  # fmt: skip


def _with_key_frames(person: Person, sources: Sequence[SourceRow]) -> Person:
    rows = choose(person.faces, person.events, KEY_FRAMES)
    media = next((row.media for row in sources if row.name == person.source), None)
    if media is None:
        return replace(person, key_frames=tuple(KeyFrame(row, float(person.faces.timestamp[row])) for row in rows))
    return replace(person, key_frames=tuple(thumbnails(person.faces, rows, media)))


def _listed(still: Faces) -> list[tuple[str, dict[int, float]]]:
    """Names and probabilities of pictures' faces."""
    listed = []
    counts = Counter(still.source.tolist())
    for row in range(min(len(still), MOST_PICTURES)):
        name = still.source[row]
        label = str(name) if counts[name] == 1 else f"{name}, face {still.face_id[row]}"
        listed.append((label, probabilities(still, row)))
    return listed


def probabilities(faces: Faces, row: int) -> dict[int, float]:
    """AU → probability in one row."""
    return {n: float(faces.column(occurrence_column(n))[row]) for n in sorted(faces.columns.occurrence)}


def intensities(faces: Faces, row: int) -> dict[int, float]:
    """AU → intensity in one row, for AUs that have one."""
    return {n: float(faces.column(intensity_column(n))[row]) for n in sorted(faces.columns.intensity)}


def _flags(faces: Faces) -> list[Flag]:
    """What may make the numbers less sure."""
    seen = faces[faces.has_face]
    frames = len(np.unique(faces.source.astype(str))) if len(faces) else 0
    missed = float(1 - faces.has_face.mean()) if frames else 0.0
    found = [Flag("no face found", missed, "of the rows are frames or pictures without a face")]
    if len(seen):
        yaw, side = np.abs(seen.pose[:, 1]), seen.box[:, 2:].max(axis=1)
        found += [
            Flag(
                "turned away", _share(yaw > FAR_YAW, yaw), f"of the faces are turned by more than {FAR_YAW:.0f} degrees"
            ),
            Flag("small", _share(side < SMALL_FACE, side), f"of the faces are smaller than {SMALL_FACE:.0f} pixels"),
            Flag("doubtful", _share(seen.score < 0.5, seen.score), "of the faces have a score below 0.5"),
        ]
    for name in faces.columns.extra:
        values = seen.column(name)
        known = values[~np.isnan(values)]
        if len(known) and name.startswith("is_"):
            words = name.removeprefix("is_").replace("_", " ")
            found.append(Flag(words, float(known.mean()), f"of the faces carry the table's flag {name}"))
        elif len(known):
            low, middle, high = np.quantile(known, (0.05, 0.5, 0.95))
            found.append(
                Flag(name, np.nan, f"median {middle:.3g}; 90 % of the faces lie between {low:.3g} and {high:.3g}")
            )
    return found


def _share(flags: npt.NDArray[np.bool_], values: npt.NDArray[np.float32]) -> float:
    known = ~np.isnan(values)
    return float(flags[known].mean()) if known.any() else float("nan")


def payload(content: Content) -> dict[str, Any]:
    """What the page's script draws: curves and events, small enough to be inlined."""
    recordings = [person for person in content.people if person.is_recording]
    total = sum(len(person.faces) for person in recordings)
    limits = [max(200, min(POINTS_EACH, round(POINTS * len(p.faces) / max(1, total)))) for p in recordings]
    events = sorted((event for person in recordings for event in person.events), key=lambda e: -e.duration)
    shortest = events[MOST_EVENTS].duration if len(events) > MOST_EVENTS else -1.0
    people = iter(limits)
    return {
        "aus": [
            {"n": n, "code": au(n).column, "name": au(n).name, "muscle": au(n).muscle, "sided": n in content.sided}
            for n in content.aus
        ],
        "people": [
            _drawn(person, content, next(people), shortest) if person.is_recording else {"label": person.label}
            for person in content.people
        ],
        "pictures": [
            {"label": label, "values": [_plain(values[n]) for n in content.aus]} for label, values in content.pictures
        ],
    }


def _drawn(person: Person, content: Content, limit: int, shortest: float) -> dict[str, Any]:
    faces = person.faces
    names = [occurrence_column(n) for n in content.aus]
    names += [occurrence_column(n, side) for n in content.sided for side in ("L", "R")]
    curves = reduce(faces.timestamp, np.stack([faces.column(name) for name in names], axis=1), limit)
    kept = [event for event in person.events if event.duration > shortest]
    return {
        "label": person.label,
        "source": person.source,
        "names": names,
        "times": _base64(curves.times.astype("<f4")),
        "values": _base64(np.ascontiguousarray(encode(curves.values).T)),
        "points": len(curves.times),
        "stretch": round(curves.stretch, 3),
        "step": round(_step(faces), 4),
        "leftOut": len(person.events) - len(kept),
        "events": [
            [content.aus.index(e.au), *(round(t, 3) for t in (e.onset, e.apex, e.offset)), round(e.peak, 3),
             _plain(e.peak_intensity)]
            for e in kept
        ],
    }  # fmt: skip


def overall(person: Person) -> dict[int, tuple[float, float]]:
    """AU → how much of the time the subject's left and right side showed it, for the diagram."""
    told = {summary.unit.number: (summary.share, summary.share) for summary in person.summaries}
    for side in person.sides:
        told[side.unit.number] = (side.both + side.left, side.both + side.right)
    return told


def at_row(faces: Faces, row: int) -> dict[int, tuple[float, float]]:
    """AU → probability of the subject's left and right side in one row, for the diagram."""
    told = {n: (value, value) for n, value in probabilities(faces, row).items()}
    for n in faces.columns.sided:
        told[n] = (
            float(faces.column(occurrence_column(n, "L"))[row]),
            float(faces.column(occurrence_column(n, "R"))[row]),
        )
    return told


def present(values: Mapping[int, float], most: int = 6) -> list[tuple[int, float]]:
    """The AUs at or above the threshold, the strongest first."""
    shown = [(n, value) for n, value in values.items() if value >= PRESENT]
    return sorted(shown, key=lambda item: -item[1])[:most]


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 3)


def _base64(array: npt.NDArray[Any]) -> str:
    return base64.b64encode(array.tobytes()).decode()
