"""`openau demo`: a first look that needs no input."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from openau.cli.progress import ProgressBar
from openau.cli.show import Summary
from openau.demo import CLIP
from openau.errors import InputError
from openau.media import Source, open_video
from openau.outputs import make_folder
from openau.overlay import VideoOverlay
from openau.runtime import Detector
from openau.sinks import TableSink


def command(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder for the table and the annotated clip; made if it is missing.")
    ] = Path(),
    model: Annotated[str, typer.Option("--model", help="A name of `openau models`, or an .onnx file.")] = "default",
) -> None:
    """Detect on a short rendered clip that comes with OpenAU; needs no input.

    Prints which Action Units were seen, and writes demo.csv (a row per frame)
    and demo_overlay.mp4 (the clip with its Action Units drawn in).
    """
    if not CLIP.is_file():
        raise InputError(f"{CLIP}: the demo's clip is missing from this installation; install OpenAU again")
    make_folder(out, parents=True)
    detector = Detector(model)
    table, clip = out / "demo.csv", out / "demo_overlay.mp4"
    summary = Summary(detector.columns)
    source = Source(CLIP.name, "video")
    with (
        ProgressBar(1) as bar,
        open_video(CLIP) as frames,
        TableSink(table, detector.columns) as sink,
        VideoOverlay(clip) as overlay,
    ):
        for seen in detector.watch_frames(frames, source.name):
            sink.write(seen.faces)
            overlay.write(seen.frame.image, seen.faces)
            summary.add(seen.faces)
            share = seen.frame.time / frames.duration if frames.duration else None
            bar.tick(source, share, seen.frame.index + 1)
    console = Console()
    console.print(summary.render(console))
    typer.echo(f"Table: {table.absolute()}\nAnnotated clip: {clip.absolute()}")
