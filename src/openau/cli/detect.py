"""`openau detect`: Action Units of the faces in images, videos or a camera."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import cv2
import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from openau.archive import Archive, Work
from openau.batch import Batch, Destination, InFolder, OneTable, OnScreen, Outcome, Overlays
from openau.bench.machine import cores
from openau.cli import INTERRUPTED, complain, voice
from openau.cli.progress import ProgressBar
from openau.cli.show import JsonRows, face_line, face_tables
from openau.errors import OutputError, UsageError
from openau.media import MAX_PIXELS, Selection, Source, expand, seconds_of
from openau.outputs import make_folder
from openau.overlay import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from openau.result import Faces
from openau.runtime import Detector
from openau.sinks import FORMAT_NAMES, FolderSink, FormatName, TableSink, default_suffix, format_of
from openau.sinks.sidecar import FOLDER_SIDECAR, sidecar_bytes, sidecar_path, write_sidecar
from openau.temporal import RULE, Beside, EventRule

Run = Batch | Archive
ENGINES = ("local", "ray")


def command(
    inputs: Annotated[
        list[str],
        typer.Argument(
            metavar="INPUT...",
            help="Images, videos, folders (searched recursively), patterns, or a camera's index (0).",
        ),
    ],
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="A table for all inputs (.csv, .parquet, .jsonl), or a folder: a table per input and index.csv.",
        ),
    ] = None,
    format: Annotated[
        str | None,
        typer.Option("--format", help=f"{', '.join(FORMAT_NAMES)}. Default: what the suffix of --out says, or csv."),
    ] = None,
    model: Annotated[str, typer.Option("--model", help="A name of `openau models`, or an .onnx file.")] = "default",
    overlay: Annotated[
        Path | None,
        typer.Option("--overlay", help="Annotated image or video (.mp4, .mov, .mkv); a folder for several inputs."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines on the terminal, a row per face, instead of tables.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on where an earlier run stopped; skip inputs that are finished.")
    ] = False,
    calibrate: Annotated[
        bool,
        typer.Option("--calibrate", help="Videos: take each person's own resting face out (two passes; see below)."),
    ] = False,
    max_faces: Annotated[
        int | None, typer.Option("--max-faces", min=1, help="Keep only the largest N faces. Default: all.")
    ] = None,
    max_pixels: Annotated[
        int, typer.Option("--max-pixels", min=1, help="Refuse larger images, by their header.")
    ] = MAX_PIXELS,
    threads: Annotated[
        int | None, typer.Option("--threads", min=1, help="Threads of each network. Default: 1, the fastest for video.")
    ] = None,
    start: Annotated[
        str, typer.Option("--start", metavar="TIME", help="Videos: from here on; seconds, 1:30 or 0:01:30.")
    ] = "0",
    end: Annotated[
        str | None, typer.Option("--end", metavar="TIME", help="Videos: up to here. Cameras: stop after so long.")
    ] = None,
    stride: Annotated[int, typer.Option("--stride", min=1, help="Look at every Nth frame only.")] = 1,
    fps: Annotated[float | None, typer.Option("--fps", help="Look at so many frames a second at most.")] = None,
    workers: Annotated[
        int,
        typer.Option("--workers", min=0, help="Read so many inputs at a time, into a folder as --out; 0: one per CPU."),
    ] = 1,
    engine: Annotated[
        str, typer.Option("--engine", help="local, or ray: over a Ray cluster, also from and to s3://, gs:// …")
    ] = "local",
    address: Annotated[
        str | None, typer.Option("--address", help="Of the Ray cluster: auto, ray://…. Default: one on this machine.")
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="auto, cpu or cuda: where the model runs and videos are decoded.")
    ] = "auto",
    same_person: Annotated[
        bool, typer.Option("--same-person", help="Videos of one person, who is always face 0; others are left out.")
    ] = False,
    smooth: Annotated[
        bool, typer.Option("--smooth", help="Videos: smooth the AUs over three frames, without moving onsets.")
    ] = False,
    events: Annotated[
        bool, typer.Option("--events", help="Videos: onset, apex and offset of every AU, in TABLE.events.csv.")
    ] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Videos: a row per face, in TABLE.summary.csv.")] = False,
    quality: Annotated[
        bool, typer.Option("--quality", help="More columns: how well each face can be seen, and a confidence.")
    ] = False,
    mirror: Annotated[
        bool, typer.Option("--mirror/--no-mirror", help="Judge each face and its mirror image, and average.")
    ] = True,
) -> None:
    """Detect the Action Units (AUs) of faces.

    For example:

      openau detect photo.jpg                   a table on the terminal

      openau detect clip.mp4                    writes clip_aus.csv here

      openau detect clip.mp4 -o clip.csv --overlay seen.mp4

      openau detect study/ -o results/ --resume  a table per file

      openau detect archive/ -o results/ --workers 0 --resume   on all cores

      openau detect study/ -o all.parquet       one table for all

      openau detect long.mp4 --start 1:30 --end 2:00 --fps 10

      openau detect 0                           a camera, until Ctrl-C

      openau detect clip.mp4 --json | jq .AU12  for programs, as it goes

    COLUMNS: source, frame (from 0), timestamp (seconds), face_id, score,
    x, y, width, height (pixels of the upright picture), pitch, yaw,
    roll, then the AUs. A frame without a face is a row with empty fields.

    AU06, AU12 …: the probability that the AU is present, calibrated so
    that 0.5 is the decision threshold: from 0.5 on, it is called present.
    AU12_i: intensity, 0 to 5. AU12_L, AU12_R: the subject's own sides.

    ANGLES are degrees: pitch + looks up, yaw + turns to the subject's
    left, roll + tilts to the subject's left.

    FACE_ID counts the faces of an image from the largest; in a video it
    stays with a person.

    CALIBRATE takes the value that an AU exceeds in 85 % of a person's
    frames for their resting face. Someone who never relaxes an AU loses
    it: not for short clips of a single expression.

    EXIT CODE: 0, 1 (some input failed; each is named), 2 (wrong usage).
    """
    chosen = _format(format)
    if as_json and (out is not None or chosen is not None or resume or events or summary):
        raise UsageError(
            "--json prints rows and writes no table; leave out --out, --format, --resume, --events and --summary"
        )
    selection = Selection(seconds_of(start), None if end is None else seconds_of(end), stride, fps)
    _check_engine(engine, address, inputs, out)
    make_detector = partial(Detector, model, max_faces, threads, mirror, max_pixels, device, same_person, quality)
    settings = {
        "mirror": str(mirror), "calibrate": str(calibrate), "max_faces": str(max_faces), "frames": str(selection),
        "same_person": str(same_person), "smooth": str(smooth), "quality": str(quality),
    }  # fmt: skip
    rule = RULE if events else None
    work = Work(make_detector, chosen or "csv", settings, calibrate, selection, smooth, rule, summary)
    if engine == "ray":
        _over_cluster(inputs, out, overlay, resume, work, address, workers)
        return
    table = None if out is None else Path(out)
    sources = expand(inputs)
    _check_together(table, chosen, sources)
    if workers != 1 and (table is None or not _is_folder(table)):
        raise UsageError(f"--workers {workers}: several inputs at a time need a folder as --out, for a table each")
    overlays = _overlays(overlay, sources)
    detector = make_detector()
    work = work.by(detector.card)
    cv2.setNumThreads(1)  # crops are so small that its other threads only wait, busily, for work
    voice.detail(f"{detector.card.name}, SHA-256 {detector.card.asset.sha256}; {len(sources)} inputs; {selection}")
    console = Console()
    started = time.monotonic()
    with ProgressBar(len(sources)) as bar, _Screen(console) as screen:
        destination: Destination = JsonRows(detector.columns)
        if not as_json:
            destination = _destination(table, chosen, detector, resume, work.settings, screen.show, sources)
        run: Run
        if workers != 1 and isinstance(destination, InFolder):
            run = Archive(work, destination, workers or cores(), overlays, bar.tick)
        else:
            run = Batch(detector, destination, overlays, calibrate, bar.tick, selection, smooth)
            if events or summary:
                run.beside = _beside(detector, destination, table, rule, summary, resume)
        outcomes = _run(run, sources, bar, table)
    written = any(outcome.frames for outcome in outcomes)
    if table is not None and table.exists() and (written or not sidecar_path(table).exists()):
        write_sidecar(table, detector.columns, _table_format(table, chosen), work.settings, continued=resume)
    if table is not None or len(sources) > 1 or sources[0].kind != "image":
        _summarise(outcomes, len(sources), time.monotonic() - started, table)
    if any(outcome.status != "ok" for outcome in outcomes):
        raise typer.Exit(1)


def _check_engine(engine: str, address: str | None, inputs: Sequence[str], out: str | None) -> None:
    if engine not in ENGINES:
        raise UsageError(f"--engine {engine}: there is no such engine; there are {', '.join(ENGINES)}")
    if engine == "local" and address is not None:
        raise UsageError("--address is of a Ray cluster; add --engine ray")
    if engine == "local" and (urls := [name for name in (*inputs, out or "") if "://" in name]):
        raise UsageError(f"{urls[0]}: addresses are read and written by --engine ray")


def _over_cluster(
    inputs: Sequence[str],
    out: str | None,
    overlay: Path | None,
    resume: bool,
    work: Work,
    address: str | None,
    workers: int,
) -> None:
    """The same job with `--engine ray`."""
    from openau.cluster import Cluster, Ledger, Place, expand_places, run_on_ray

    if out is None or overlay is not None or Path(out).suffix:
        raise UsageError("--engine ray needs a folder as --out, by path or address, and draws no --overlay")
    sources = expand_places(inputs)
    if any(source.kind == "camera" for source in sources):
        raise UsageError("--engine ray reads files, not cameras")
    detector = work.make_detector()
    work = work.by(detector.card)
    ledger = Ledger(Place(out), sources, default_suffix(work.format), resume)
    started = time.monotonic()
    outcomes = []
    with ProgressBar(len(sources)) as bar:
        for outcome in run_on_ray(work, sources, ledger, Cluster(address, workers if workers > 1 else None)):
            bar.tick(outcome.source, 1.0, outcome.frames)
            bar.next(outcome.source)
            outcomes.append(outcome)
            for message in (outcome.message, *outcome.notes):
                if message:
                    complain(message)
    Place(out).child(FOLDER_SIDECAR).write(sidecar_bytes(detector.columns, work.format, work.settings))
    _summarise(outcomes, len(sources), time.monotonic() - started, Path(out))
    if any(outcome.status != "ok" for outcome in outcomes):
        raise typer.Exit(1)


def _run(run: Run, sources: Sequence[Source], bar: ProgressBar, out: Path | None) -> list[Outcome]:
    """Process everything; complain about what failed as it happens."""
    outcomes = []
    try:
        with run.destination:
            for outcome in run.run(sources):
                bar.next(outcome.source)
                outcomes.append(outcome)
                if outcome.message:
                    complain(_with_what_is_kept(outcome, out))
                for note in outcome.notes:
                    complain(note)
    except KeyboardInterrupt:
        complain("stopped; what was finished is kept, run the same command with --resume to go on")
        raise typer.Exit(INTERRUPTED) from None
    except OutputError as error:
        raise OutputError(f"{error}; what was finished is kept, run again with --resume to go on") from error
    return outcomes


def _with_what_is_kept(outcome: Outcome, out: Path | None) -> str:
    """The sentence about a failed input and, where part of it was read, what became of that part."""
    if outcome.status != "incomplete":
        return outcome.message
    table = outcome.output or out
    where = f" are in {table}" if table is not None else " were shown"
    frames = "frame" if outcome.frames == 1 else f"{outcome.frames:,} frames"
    advice = "" if outcome.source.kind == "camera" else "; run again with --resume after replacing the file"
    return f"{outcome.message.rstrip('.')}; the {frames} before{where}{advice}"


def _summarise(outcomes: Sequence[Outcome], total: int, seconds: float, out: Path | None) -> None:
    done = sum(outcome.status == "ok" for outcome in outcomes)
    bad = [outcome for outcome in outcomes if outcome.status != "ok"]
    frames = sum(outcome.frames for outcome in outcomes)
    faces = sum(outcome.faces for outcome in outcomes)
    parts = [f"{done} of {total} input{'s' * (total != 1)} done"]
    if skipped := total - len(outcomes):
        parts.append(f"{skipped} finished before")
    if bad:
        named = ", ".join(outcome.source.name for outcome in bad[:5])
        parts.append(f"{len(bad)} failed ({named}{', …' if len(bad) > 5 else ''})")
    parts.append(f"{frames:,} frame{'s' * (frames != 1)}, {faces:,} face{'s' * (faces != 1)} in {seconds:.1f} s")
    written = [str(out)] if out is not None else [str(o.output) for o in outcomes if o.output is not None]
    where = f" → {', '.join(written[:5])}" if written and frames else ""
    voice.note(f"{'; '.join(parts)}{where}")


def _format(name: str | None) -> FormatName | None:
    for known in FORMAT_NAMES:
        if name == known:
            return known
    if name is not None:
        raise UsageError(f"--format {name}: there is no such format; there are {', '.join(FORMAT_NAMES)}")
    return None


def _table_format(out: Path, format: FormatName | None) -> FormatName:
    return format or "csv" if _is_folder(out) else format_of(out, format)


def _is_folder(path: Path) -> bool:
    return path.is_dir() or (not path.suffix and not path.exists())


def _check_together(out: Path | None, format: FormatName | None, sources: Sequence[Source]) -> None:
    """Refuse combinations that cannot work before anything is read."""
    endless = [source.name for source in sources if source.kind == "camera"]
    if endless and len(sources) > 1:
        raise UsageError(f"camera {endless[0]} never ends by itself; give it alone")
    if out is None or _is_folder(out):
        return
    _refuse_to_overwrite("--out", out, sources)
    if format_of(out, format) == "openface" and len(sources) > 1:
        raise UsageError(
            f"{out}: OpenFace's tables have no column for the source, so one cannot hold {len(sources)} inputs; "
            "give a folder as --out"
        )


def _refuse_to_overwrite(option: str, path: Path, sources: Sequence[Source]) -> None:
    """An output that is one of the inputs would be the input's end."""
    if path.exists() and any(path.samefile(s.path) for s in sources if s.error is None and s.path.exists()):
        raise UsageError(f"{option} {path}: this is one of the inputs, which would be lost; name another file")


def _destination(
    out: Path | None,
    format: FormatName | None,
    detector: Detector,
    resume: bool,
    settings: Mapping[str, str],
    show: Callable[[Source, Faces], None],
    sources: Sequence[Source],
) -> Destination:
    if out is None:
        return OnScreen(detector, show, format or "csv", resume, settings)
    if _is_folder(out):
        return InFolder(FolderSink(out, detector.columns, format or "csv", resume=resume, settings=settings), sources)
    return OneTable(TableSink(out, detector.columns, format, resume=resume, settings=settings))


def _beside(
    detector: Detector, destination: Destination, out: Path | None, rule: EventRule | None, summary: bool, resume: bool
) -> Beside:
    """The tables of events and summaries, beside the table or tables of faces."""
    if out is None or not isinstance(destination, OneTable):
        return Beside(detector.columns, rule, summary)
    return Beside(detector.columns, rule, summary, out, destination.holds if resume else None)


def _overlays(path: Path | None, sources: Sequence[Source]) -> Overlays | None:
    if path is None:
        return None
    if _is_folder(path):
        make_folder(path)
        return Overlays(path, True, sources)
    if len(sources) > 1:
        raise UsageError(
            f"--overlay {path}: one file cannot hold {len(sources)} inputs; name a folder (if it is new, without a dot)"
        )
    _refuse_to_overwrite("--overlay", path, sources)
    suffixes = IMAGE_SUFFIXES if sources[0].kind == "image" else VIDEO_SUFFIXES
    if path.suffix.lower() not in suffixes and sources[0].error is None:
        raise UsageError(f"--overlay {path}: for this input, end it with {', '.join(suffixes)}")
    return Overlays(path, folder=False)


class _Screen:
    """Shows pictures as tables and a camera as one line that changes; a context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live: Live | None = None

    def show(self, source: Source, faces: Faces) -> None:
        """Show the rows of a picture or of a camera's frame."""
        if source.kind == "image":
            self._console.print(face_tables(self._console, source.name, faces))
            return
        if self._live is None:
            self._live = Live(console=self._console, refresh_per_second=10, transient=False)
            self._live.start()
        self._live.update(Text(face_line(faces), no_wrap=True, overflow="ellipsis"))

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
