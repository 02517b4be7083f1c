"""`Faces` as a piece of HTML: who was seen, which AUs are present, the face's contours where there are landmarks."""

from __future__ import annotations

from collections.abc import Iterator
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
    cards = [*_stills(faces), *_recorded(faces)]
    shown = "".join(cards[:MOST_FACES])
    more = f"<div>and {len(cards) - MOST_FACES} more</div>" if len(cards) > MOST_FACES else ""
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


def _moments(faces: Faces) -> dict[str, int]:
    """Source → number of its frames."""
    return {str(name): len(np.unique(faces.frame[faces.source == name])) for name in dict.fromkeys(faces.source)}


def _stills(faces: Faces) -> Iterator[str]:
    frames = _moments(faces)
    for row in np.flatnonzero(faces.has_face):
        if frames[str(faces.source[row])] > 1:
            continue
        values = {n: float(faces.column(occurrence_column(n))[row]) for n in faces.columns.occurrence}
        present = sorted((n for n, v in values.items() if v >= PRESENT), key=lambda n: -values[n])
        lines = []
        for n in present[:MOST_AUS]:
            side = {"L": ", left", "R": ", right"}.get(one_side(faces, int(row), n), "")
            graded = float(faces.column(intensity_column(n))[row]) if n in faces.columns.intensity else float("nan")
            text = f"{values[n]:.2f}" + ("" if np.isnan(graded) else f" · {graded:.1f}")
            lines.append(_bar(f"AU{n}", f"{au(n).name}{side}", values[n], text))
        picture = "" if faces.landmarks is None else contours_svg(faces.landmarks[row])
        title = f"{faces.source[row]}, face {faces.face_id[row]}"
        yield _card(title, picture, lines, len(present), "no AU present")


def _recorded(faces: Faces) -> Iterator[str]:
    for name, frames in _moments(faces).items():
        if frames < 2:
            continue
        ours = faces[faces.source == name]
        for person in np.unique(ours.face_id[ours.has_face]):
            own = ours[ours.face_id == person]
            shares = {n: _share(own.column(occurrence_column(n))) for n in own.columns.occurrence}
            present = sorted((n for n, v in shares.items() if v > 0), key=lambda n: -shares[n])
            lines = [_bar(f"AU{n}", au(n).name, shares[n], f"{shares[n]:.0%}") for n in present[:MOST_AUS]]
            title = f"{name}, face {person}: {len(own):,} frames, share of the time"
            yield _card(title, "", lines, len(present), "no AU present")


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
