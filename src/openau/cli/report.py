"""`openau report`: one HTML file that shows what faces did."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from openau import __version__
from openau.cli import voice
from openau.cli.progress import ProgressBar
from openau.errors import InputError, UsageError
from openau.interop import read_faces
from openau.media import Source, classify, open_video
from openau.outputs import require_folder
from openau.report import Provenance, provenance_of, write_report
from openau.report.media import find_media
from openau.report.page import load_template
from openau.result import Faces
from openau.runtime import Detector
from openau.sinks import SUFFIXES


def command(
    results: Annotated[
        Path,
        typer.Argument(
            metavar="RESULTS|VIDEO",
            help="A table (.csv, .parquet, .jsonl), a folder of tables, or a video or picture to detect first.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="The page, an .html file.")] = Path("report.html"),
    media: Annotated[
        list[Path] | None,
        typer.Option(
            "--media", help="The video or picture a table is about, or the folder they lie in: shows key frames."
        ),
    ] = None,
    rate: Annotated[
        float | None, typer.Option("--rate", help="Frames per second, for tables that tell no times.")
    ] = None,
    model: Annotated[
        str, typer.Option("--model", help="For a video or picture: a name of `openau models`, or an .onnx file.")
    ] = "default",
) -> None:
    """Write a report: one HTML file with everything in it, to be opened offline.

    For example:

      openau report clip.mp4                         detects, writes report.html

      openau report clip.csv --media clip.mp4        from a table, with pictures

      openau report results/ -o study.html           a folder of tables

    It shows what was measured, key frames, which muscles act, a timeline
    per Action Unit and face that can be zoomed, events, rates, which AUs
    go together, left and right, quality, how it was made, and limits.
    Without --media there are no pictures of faces in it.
    """
    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"{out}: a report is an HTML file; end its name with .html")
    require_folder(out)
    load_template()
    if not results.exists():
        raise InputError(f"{results}: there is no such file or folder")
    if results.is_dir() or results.suffix.lower() in SUFFIXES:
        faces, provenance = read_faces(results, rate), provenance_of(results)
        files = find_media(faces, [results.parent if results.is_file() else results], media or [])
    else:
        faces, provenance = _detect(results, model)
        files = {str(results): results}
    written = write_report(faces, out, files, provenance)
    voice.note(f"Report: {written.absolute()} ({written.stat().st_size / 1e6:.1f} MB)")


def _detect(path: Path, model: str) -> tuple[Faces, Provenance]:
    """Detect on a video or picture; progress on stderr."""
    detector = Detector(model)
    name = str(path)
    settings = {"model": detector.card.name, "sha256": detector.card.asset.sha256, "mirror": str(detector.mirror)}
    provenance = Provenance(__version__, settings, detector.card)
    if classify(path) == "image":
        return replace(detector.detect(path), landmarks=None), provenance
    parts = []
    source = Source(name, "video")
    with ProgressBar(1) as bar, open_video(path) as frames:
        for seen in detector.watch_frames(frames, name):
            parts.append(replace(seen.faces, landmarks=None))
            bar.tick(source, frames.share(seen.frame.time), seen.frame.index + 1)
    return Faces.concatenate(parts), provenance
