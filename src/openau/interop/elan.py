"""ELAN's annotation files (.eaf, format 3.0): a tier per face and AU, an annotation per event.

ELAN (Max Planck Institute for Psycholinguistics) opens such a file beside the video. The root is ANNOTATION_DOCUMENT, in it, in this
order: HEADER, TIME_ORDER, the TIERs and the LINGUISTIC_TYPE they all have. Times are whole milliseconds.
"""

from __future__ import annotations

import mimetypes
import os
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from xml.etree import ElementTree as ET

from openau import __version__
from openau.errors import UsageError
from openau.facs import au
from openau.outputs import whole_file
from openau.result import Faces
from openau.sinks.formats import plain_text
from openau.temporal.events import RULE, Event, EventRule, events_of

SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_NO_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
TYPE = "action unit"
"""The linguistic type of all tiers: text that is aligned with time."""


def write_eaf(
    faces: Faces,
    path: str | os.PathLike[str],
    media: str | os.PathLike[str] | None = None,
    rule: EventRule = RULE,
    date: datetime = datetime(1970, 1, 1, tzinfo=UTC),
) -> list[Event]:
    """Write the AU events of one recording as an ELAN file.

    An annotation reads `AU12 0.97` (the AU and the event's highest probability) or, where the model measures intensity, `AU12 0.97 3.2`.

    Args:
        faces: the table of one source.
        path: the .eaf file.
        media: the video, linked beside the file; None: the source's own name.
        rule: what makes an event.
        date: the document's date. ELAN's schema demands one; a fixed one makes equal tables give equal files.

    Returns:
        The events written.

    Raises:
        UsageError: the table holds several sources, or tells no times.
        OutputError: the file cannot be written.
    """
    sources = list(dict.fromkeys(faces.source.tolist()))
    if len(sources) != 1:
        raise UsageError(f"{path}: an ELAN file is about one recording, and the table holds {len(sources)} sources")
    events = events_of(timed(faces), rule)
    document = _document(events, Path(media if media is not None else sources[0]), date)
    ET.indent(document)
    with whole_file(Path(path)) as scratch:
        ET.ElementTree(document).write(scratch, "utf-8", xml_declaration=True)
    return events


def timed(faces: Faces) -> Faces:
    """The table itself, if every row has a time.

    Raises:
        UsageError: there are none, so that events have no place.
    """
    unknown = faces.timestamp != faces.timestamp
    if unknown.any():
        source = faces.source[unknown.argmax()]
        raise UsageError(f"{source}: the table tells no times; say how many frames a second has (--rate)")
    return faces


def _document(events: Sequence[Event], media: Path, date: datetime) -> ET.Element:
    root = ET.Element(
        "ANNOTATION_DOCUMENT",
        {
            "AUTHOR": f"OpenAU {__version__}",
            "DATE": date.isoformat(),
            "FORMAT": "3.0",
            "VERSION": "3.0",
            "xmlns:xsi": "http://www.w3.org/2001/XMLSchema-instance",
            "xsi:noNamespaceSchemaLocation": SCHEMA,
        },
    )
    header = ET.SubElement(root, "HEADER", {"MEDIA_FILE": "", "TIME_UNITS": "milliseconds"})
    ET.SubElement(
        header,
        "MEDIA_DESCRIPTOR",
        {
            "MEDIA_URL": media.as_uri() if media.is_absolute() else f"./{_plain(media.as_posix())}",
            "MIME_TYPE": mimetypes.guess_type(media.name)[0] or "video/mp4",
            "RELATIVE_MEDIA_URL": f"./{_plain(media.name)}",
        },
    )
    ET.SubElement(header, "PROPERTY", {"NAME": "lastUsedAnnotationId"}).text = str(len(events))
    order = ET.SubElement(root, "TIME_ORDER")
    moments = {moment: f"ts{i + 1}" for i, moment in enumerate(sorted(set(_ends(events))))}
    for moment, name in moments.items():
        ET.SubElement(order, "TIME_SLOT", {"TIME_SLOT_ID": name, "TIME_VALUE": str(moment)})
    number = 0
    for (person, unit), own in _tiers(events).items():
        tier = ET.SubElement(
            root,
            "TIER",
            {
                "LINGUISTIC_TYPE_REF": TYPE,
                "PARTICIPANT": f"face {person}",
                "TIER_ID": f"face {person} {au(unit).column} {au(unit).name}",
            },
        )
        for event in own:
            number += 1
            start, stop = _span(event)
            aligned = ET.SubElement(
                ET.SubElement(tier, "ANNOTATION"),
                "ALIGNABLE_ANNOTATION",
                {
                    "ANNOTATION_ID": f"a{number}",
                    "TIME_SLOT_REF1": moments[start],
                    "TIME_SLOT_REF2": moments[stop],
                },
            )
            ET.SubElement(aligned, "ANNOTATION_VALUE").text = _value(event)
    ET.SubElement(
        root,
        "LINGUISTIC_TYPE",
        {"GRAPHIC_REFERENCES": "false", "LINGUISTIC_TYPE_ID": TYPE, "TIME_ALIGNABLE": "true"},
    )
    return root


def _tiers(events: Iterable[Event]) -> dict[tuple[int, int], list[Event]]:
    """Events by face and AU, in order of both."""
    tiers: dict[tuple[int, int], list[Event]] = {}
    for event in sorted(events, key=lambda event: (event.face_id, event.au, event.onset)):
        tiers.setdefault((event.face_id, event.au), []).append(event)
    return tiers


def _span(event: Event) -> tuple[int, int]:
    """Onset and offset in milliseconds; at least one apart, as ELAN wants it."""
    start = round(event.onset * 1000)
    return start, max(start + 1, round(event.offset * 1000))


def _ends(events: Iterable[Event]) -> Iterable[int]:
    return (moment for event in events for moment in _span(event))


def _plain(text: str) -> str:
    """Text without what XML cannot hold."""
    return _NO_XML.sub("\ufffd", plain_text(text))


def _value(event: Event) -> str:
    graded = "" if event.peak_intensity != event.peak_intensity else f" {event.peak_intensity:.1f}"
    return f"{au(event.au).column} {event.peak:.2f}{graded}"
