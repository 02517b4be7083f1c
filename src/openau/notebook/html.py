"""`Faces` as a piece of HTML: who was seen, which AUs are present, the face's contours where there are landmarks."""

from __future__ import annotations

from html import escape

import numpy as np
import numpy.typing as npt

from openau.facs import au, intensity_column, occurrence_column
from openau.overlay import CONTOURS, one_side
from openau.result import Faces

MOST_FACES = 6
MOST_AUS = 8
PRESENT = 0.5
_BLUE, _PALE = "#0072b2", "rgba(128,128,128,.25)"


def html_of(faces: Faces) -> str:
    """A table as HTML.

    Pictures' faces are shown with their present AUs; people in recordings with the share of the time in which AUs were present. Colours are
    the notebook's own, light or dark.
    """
    head = _headline(faces)
    recordings = _recordings(faces)
    of_picture = faces.has_face & ~np.isin(faces.source, np.array(list(recordings), object))
    stills = np.flatnonzero(of_picture)
    people = [(name, person) for name, persons in recordings.items() for person in persons]
    cards = [_still(faces, int(row)) for row in stills[:MOST_FACES]]
    cards += [_recorded(faces, *one) for one in people[: MOST_FACES - len(cards)]]
    shown, left = "".join(cards), len(stills) + len(people) - len(cards)
    more = f"<div>and {left:,} more</div>" if left else ""
    return (
        f'<div style="font:13px/1.45 system-ui,sans-serif"><div style="margin-bottom:.4em">{head}</div>'
        f'<div style="display:flex;flex-wrap:wrap;gap:1.2em;align-items:flex-start">{shown}</div>{more}</div>'
    )


def _headline(faces: Faces) -> str:
    sources = list(dict.fromkeys(map(str, faces.source)))
    names = escape(", ".join(sources[:3]) + (f" and {len(sources) - 3} more" if len(sources) > 3 else ""))
    rows = f"{len(faces):,} row{'s' * (len(faces) != 1)}"
    found = f"{int(faces.has_face.sum()):,} with a face"
    return f"<b>Faces</b>: {rows}, {found}, {len(faces.columns.occurrence)} AUs; {names}"


def _recordings(faces: Faces) -> dict[str, list[int]]:
    """Sources with more than one frame, and the faces seen in them."""
    names, which = np.unique(faces.source.astype(str), return_inverse=True)
    frames = np.unique(np.stack([which, faces.frame]), axis=1)[0]
    several = np.bincount(frames, minlength=len(names)) > 1
    seen = faces.has_face & several[which]
    pairs = np.unique(np.stack([which[seen], faces.face_id[seen]]), axis=1)
    found: dict[str, list[int]] = {str(name): [] for name in names[several]}
    for place, person in pairs.T:
        found[str(names[place])].append(int(person))
    return found


def _still(faces: Faces, row: int) -> str:
    """A picture's face: its present AUs, the strongest first."""
    values = {n: float(faces.column(occurrence_column(n))[row]) for n in faces.columns.occurrence}
    present = sorted((n for n, v in values.items() if v >= PRESENT), key=lambda n: -values[n])
    lines = []
    for n in present[:MOST_AUS]:
        side = {"L": ", left", "R": ", right"}.get(one_side(faces, row, n), "")
        graded = float(faces.column(intensity_column(n))[row]) if n in faces.columns.intensity else float("nan")
        text = f"{values[n]:.2f}" + ("" if np.isnan(graded) else f" · {graded:.1f}")
        lines.append(_bar(f"AU{n}", f"{au(n).name}{side}", values[n], text))
    picture = "" if faces.landmarks is None else contours_svg(faces.landmarks[row])
    return _card(f"{faces.source[row]}, face {faces.face_id[row]}", picture, lines, len(present), "no AU present")


def _recorded(faces: Faces, name: str, person: int) -> str:
    """Someone in a recording: the share of the time in which each AU was present."""
    own = faces[(faces.source == name) & (faces.face_id == person)]
    shares = {n: _share(own.column(occurrence_column(n))) for n in own.columns.occurrence}
    present = sorted((n for n, v in shares.items() if v > 0), key=lambda n: -shares[n])
    lines = [_bar(f"AU{n}", au(n).name, shares[n], f"{shares[n]:.0%}") for n in present[:MOST_AUS]]
    title = f"{name}, face {person}: {len(own):,} frames, share of the time"
    return _card(title, "", lines, len(present), "no AU present")


def _share(values: npt.NDArray[np.float32]) -> float:
    known = ~np.isnan(values)
    return float((values[known] >= PRESENT).mean()) if known.any() else 0.0


def _card(title: str, picture: str, lines: list[str], present: int, nothing: str) -> str:
    more = f"<div>and {present - len(lines)} more</div>" if present > len(lines) else ""
    body = "".join(lines) or f"<div>{nothing}</div>"
    return (
        f'<div style="display:flex;gap:.8em;align-items:flex-start">{picture}<div style="min-width:19em">'
        f"<div><b>{escape(title)}</b></div>{body}{more}</div></div>"
    )


def _bar(code: str, name: str, value: float, text: str) -> str:
    width = 100 * min(1.0, max(0.0, value))
    return (
        '<div style="display:grid;grid-template-columns:3.1em 1fr 5.5em 5.5em;align-items:center;column-gap:.4em">'
        f"<b>{code}</b><span>{escape(name)}</span>"
        f'<span style="background:{_PALE};height:.55em"><span style="display:block;width:{width:.0f}%;height:100%;'
        f'background:{_BLUE}"></span></span><span style="font-variant-numeric:tabular-nums">{text}</span></div>'
    )


def contours_svg(landmarks: npt.NDArray[np.float32], side: int = 130) -> str:
    """A face's contours as a small SVG.

    Args:
        landmarks: (468, 2 or 3) in pixels.
        side: of the drawing, pixels.
    """
    points = landmarks[:, :2] - landmarks[:, :2].min(axis=0)
    scale = (side - 4) / max(float(points.max()), 1e-6)
    points = points * scale + 2
    width, height = points.max(axis=0) + 2
    lines = []
    for indices, closed in CONTOURS:
        text = " ".join(f"{x:.1f},{y:.1f}" for x, y in points[list(indices)])
        lines.append(f'<poly{"gon" if closed else "line"} points="{text}"/>')
    return (
        f'<svg width="{width:.0f}" height="{height:.0f}" role="img" aria-label="The face’s contours" '
        f'style="flex:none" fill="none" stroke="currentColor" stroke-width="1">{"".join(lines)}</svg>'
    )
