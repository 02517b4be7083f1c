"""The page: content and template put together, one self-contained HTML file."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from openau import __version__
from openau.errors import MissingExtraError
from openau.facs import au
from openau.outputs import whole_file
from openau.report import content as contents
from openau.report.content import Content, Person
from openau.report.keyframes import KeyFrame
from openau.report.muscles import face_svg
from openau.report.provenance import Provenance
from openau.report.statistics import PRESENT
from openau.result import Faces
from openau.temporal.events import RULE, EventRule

FILES = Path(__file__).parent / "files"
UPLOT_SHA256 = "19c8d4c6ad88929a79f4ae49d6f7161566dfd0ba3d15cc495e974f787eb78f1f"
"""Of `files/uPlot.iife.min.js`, as published in uplot 1.6.32."""

PLAIN_LIMITS = (
    "An Action Unit is a movement of the face. It is not a feeling: people smile without joy and are sad with a still face.",
    "The numbers are a model's estimates, not those of certified FACS coders. 0.5 is the threshold from which an AU counts as present; "
    "values near it are coin tosses.",
    "Faces differ at rest. Low brows can look like AU4, upturned mouth corners like AU12; speech moves most AUs of the mouth.",
    "Far-turned, small, dark, blurred or covered faces are judged badly, and the model is not equally good for all people.",
    "Do not decide about people with it: not about work, school, credit, insurance, truthfulness or health.",
)  # fmt: skip


def write_report(
    faces: Faces,
    path: str | os.PathLike[str],
    media: Mapping[str, str | os.PathLike[str]] | None = None,
    provenance: Provenance | None = None,
    rule: EventRule = RULE,
) -> Path:
    """Write a report about a table.

    Args:
        faces: the table; recordings, pictures, or both.
        path: the .html file.
        media: source → its video or picture, for thumbnails (which then lie in the report: they show faces) and for a link to the video.
        provenance: how the table was made.
        rule: what makes an event.

    Returns:
        The path.

    Raises:
        InputError: the table is empty, or its times do not increase.
        UsageError: a recording tells no times.
        OutputError: the file cannot be written.
        MissingExtraError: Jinja is not installed.
    """
    target = Path(path)
    page = render(faces, media, provenance, rule, target.parent)
    with whole_file(target) as scratch:
        scratch.write_text(page, encoding="utf-8", newline="\n")
    return target


def render(
    faces: Faces,
    media: Mapping[str, str | os.PathLike[str]] | None = None,
    provenance: Provenance | None = None,
    rule: EventRule = RULE,
    folder: Path | None = None,
) -> str:
    """The page as text.

    Args:
        faces: the table.
        media: source → its video or picture.
        provenance: how the table was made.
        rule: what makes an event.
        folder: where the page will lie, so that it can link the video; None: no link.

    Raises:
        InputError, UsageError, MissingExtraError: see `write_report`.
    """
    template = load_template()
    content = contents.gather(faces, {name: Path(file) for name, file in (media or {}).items()}, rule)
    style = _file("uPlot.min.css") + _file("report.css")
    library, script = _file("uPlot.iife.min.js"), _file("report.js")
    data = _json(contents.payload(content))
    from markupsafe import Markup

    return str(
        template.render(
            title=_title(content),
            content=content,
            provenance=provenance or Provenance(),
            rule=rule,
            version=__version__,
            limits=PLAIN_LIMITS,
            faces=[Markup(face_svg(_scaled(contents.overall(person)))) for person in content.people],
            tops=[_top(contents.overall(person)) for person in content.people],
            moments=[[_moment(person, frame) for frame in person.key_frames] for person in content.people],
            link={row.name: _link(row.media, folder) for row in content.sources if row.kind == "recording"},
            style=Markup(style),
            library=Markup(library),
            script=Markup(script),
            data=Markup(data),
            hashes=" ".join(f"'sha256-{_sha(text)}'" for text in (library, script)),
            has_pictures_of_faces=any(frame.jpeg for person in content.people for frame in person.key_frames),
        )
    )


def _title(content: Content) -> str:
    if len(content.sources) == 1:
        return Path(content.sources[0].name.replace("\\", "/")).name
    kinds = [row.kind for row in content.sources]
    parts = [f"{kinds.count(kind):,} {kind}{'s' * (kinds.count(kind) != 1)}" for kind in ("recording", "picture")]
    return " and ".join(part for part, kind in zip(parts, ("recording", "picture"), strict=True) if kind in kinds)


def _top(shares: Mapping[int, tuple[float, float]]) -> float:
    """The largest share of the time that any AU was present on any side; 1 if none ever was."""
    return max((v for sides in shares.values() for v in sides if v > 0), default=1.0)


def _scaled(shares: Mapping[int, tuple[float, float]]) -> dict[int, tuple[float, float]]:
    """Shares of the largest, so that the diagram tells AUs apart that are all rare."""
    top = _top(shares)
    return {number: (left / top, right / top) for number, (left, right) in shares.items()}


def _moment(person: Person, frame: KeyFrame) -> dict[str, Any]:
    """A key frame as the template shows it."""
    values = contents.probabilities(person.faces, frame.row)
    strength = contents.intensities(person.faces, frame.row)
    return {
        "frame": frame,
        "bars": [(au(n), value, strength.get(n, math.nan)) for n, value in contents.present(values)],
        "more": max(0, sum(value >= PRESENT for value in values.values()) - 6),
    }


def _link(media: Path | None, folder: Path | None) -> str:
    """A relative address of the video, where it can have one."""
    if media is None or folder is None:
        return ""
    try:
        return quote(Path(os.path.relpath(str(media), str(folder))).as_posix())
    except ValueError:  # another drive
        return ""


@cache
def _file(name: str) -> str:
    return (FILES / name).read_text(encoding="utf-8")


def _sha(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _json(value: Any) -> str:
    """JSON that can stand in a <script> element whatever text it holds."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@cache
def load_template() -> Any:
    """The page's template; asked for before long work, it says at once if it cannot be had.

    Raises:
        MissingExtraError: Jinja is not installed.
    """
    try:
        import jinja2
    except ImportError:
        raise MissingExtraError(
            "reports need Jinja2, which is not installed; run: pip install 'openau[report]'"
        ) from None
    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(percent=_percent, number=_number, clock=_clock)
    return environment.from_string(_file("report.html.j2"))


def _percent(value: float, places: int = 0) -> str:
    if math.isnan(value):
        return "–"
    if 0 < value < 0.005 and not places:
        return "<1 %"
    return f"{100 * value:.{places}f} %"


def _number(value: float, places: int = 2) -> str:
    return "–" if math.isnan(value) else f"{value:,.{places}f}"


def _clock(seconds: float) -> str:
    """4.2 s, 1:30, 1:02:03."""
    if math.isnan(seconds):
        return "–"
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    hours, rest = divmod(whole, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
