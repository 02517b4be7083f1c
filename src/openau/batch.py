"""Many inputs, one run: each source is read, judged and written; what fails is told, and the rest goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Literal, Protocol

from openau.errors import InputError
from openau.media import WHOLE, Frame, Selection, Source, Stream, open_camera, read_image
from openau.outputs import remove_scratch, writing
from openau.overlay import VideoOverlay, annotate, write_image
from openau.result import AUColumns, Faces
from openau.runtime.detector import Detector, Observation
from openau.runtime.neutral import MIN_FRAMES
from openau.runtime.passes import Notes
from openau.runtime.prefetch import Prefetch
from openau.sinks import FolderSink, FormatName, IndexRow, Names, TableSink, default_suffix
from openau.temporal import Beside, Smoother, smooth

Status = Literal["ok", "incomplete", "failed"]


@dataclass(slots=True)
class Outcome:
    """How one source went.

    Attributes:
        source: the input.
        status: `ok`, `incomplete` (read in part; its rows are kept) or `failed`.
        frames: frames read.
        faces: rows that hold a face.
        seconds: time of the last frame.
        message: what was wrong, in one sentence.
        output: its table, if it has one of its own.
        notes: what else is worth saying.
    """

    source: Source
    status: Status = "ok"
    frames: int = 0
    faces: int = 0
    seconds: float = 0.0
    message: str = ""
    output: Path | None = None
    notes: list[str] = field(default_factory=list)

    def count(self, faces: Faces) -> None:
        """Take the rows of a frame into account."""
        self.frames += 1
        self.faces += int(faces.has_face.sum())
        self.seconds = float(faces.timestamp[0])


class Destination(Protocol):
    """Where rows go; a context manager that makes the tables at its end."""

    def is_finished(self, source: Source) -> bool:
        """Whether an earlier run, now resumed, finished this source."""

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """The next rows of a source."""

    def finish(self, outcome: Outcome) -> None:
        """A source is done."""

    def __enter__(self) -> Destination: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class OneTable:
    """All sources in one table. Without a single row there is no table, and an existing one stays as it was."""

    def __init__(self, sink: TableSink) -> None:
        self._sink = sink

    def is_finished(self, source: Source) -> bool:
        """See `Destination`."""
        return self.holds(source.name)

    def holds(self, source: str) -> bool:
        """Whether an earlier run, now resumed, finished the source of this name."""
        return self._sink.is_finished(source)

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """See `Destination`."""
        self._sink.write(faces)

    def finish(self, outcome: Outcome) -> None:
        """See `Destination`."""
        if outcome.frames:
            self._sink.finish_source(outcome.source.name, complete=outcome.status == "ok")

    def __enter__(self) -> OneTable:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None and not self._sink.rows and not self._sink.resumed:
            self._sink.discard()
        else:
            self._sink.__exit__(kind, error, trace)


class OwnTables:
    """A table per source, opened with its first row.

    Args:
        open_table: opens a source's table.
    """

    def __init__(self, open_table: Callable[[Source], TableSink]) -> None:
        self._open_table = open_table
        self._sink: TableSink | None = None

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """Append rows of the current source."""
        if self._sink is None:
            self._sink = self._open_table(outcome.source)
            outcome.output = self._sink.path
        self._sink.write(faces)

    def finish(self, outcome: Outcome) -> None:
        """Make the current source's table."""
        if self._sink is not None:
            self._sink.finish_source(outcome.source.name, complete=outcome.status == "ok")
            self._sink.close()
            self._sink = None

    def stop(self) -> None:
        """Leave the current source's rows in its partial file."""
        if self._sink is not None:
            self._sink.keep_partial()
            self._sink = None


class InFolder:
    """A table per source in a folder, and its index.

    Args:
        sink: the folder.
        sources: all inputs. The tables' names are given away at once, and the index lists the inputs in this order, so that neither
            depends on what can be read and what is finished when.

    Attributes:
        path: the folder.
    """

    def __init__(self, sink: FolderSink, sources: Sequence[Source] = ()) -> None:
        self._sink = sink
        self._tables = OwnTables(lambda source: sink.open(source.name))
        self._order = [source.name for source in sources]
        self.path = sink.path
        sink.plan(self._order)

    def table(self, source: Source) -> Path:
        """Where a source's table is."""
        return self.path / self._sink.name_for(source.name)

    def is_finished(self, source: Source) -> bool:
        """See `Destination`."""
        return self._sink.is_finished(source.name)

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """See `Destination`."""
        self._tables.write(outcome, faces)

    def finish(self, outcome: Outcome) -> None:
        """See `Destination`."""
        self._tables.finish(outcome)
        output = outcome.output.name if outcome.output else ""
        self._sink.record(
            IndexRow(
                outcome.source.name, output, outcome.frames, outcome.faces, outcome.seconds, outcome.status,
                outcome.message,
            )
        )  # fmt: skip

    def __enter__(self) -> InFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tables.stop()
        if kind is None:
            self._sink.sort(self._order)
        self._sink.__exit__(kind, error, trace)


class OnScreen:
    """Without `--out`: pictures and cameras are shown, a video writes `<stem>_aus.csv` into the current folder.

    Args:
        detector: whose columns the tables have.
        show: shows the rows of a picture, or of a camera's frame.
        format: format of the videos' tables.
        resume: skip videos whose table is whole.
        settings: what the rows depend on.
    """

    def __init__(
        self,
        detector: Detector,
        show: Callable[[Source, Faces], None],
        format: FormatName = "csv",
        resume: bool = False,
        settings: Mapping[str, str] | None = None,
    ) -> None:
        self._show = show
        self._ending = f"_aus{default_suffix(format)}"
        self._names = Names()
        self._resume = resume
        self._tables = OwnTables(
            lambda source: TableSink(self._path(source), detector.columns, format, settings=settings)
        )

    def _path(self, source: Source) -> Path:
        return Path(self._names.name(source.name, self._ending))

    def is_finished(self, source: Source) -> bool:
        """See `Destination`."""
        if source.kind != "video":
            return False
        table = self._path(source)  # also without resume: every run gives the same names, whatever can be read
        return self._resume and table.exists() and not table.with_name(f"{table.name}.incomplete").exists()

    def write(self, outcome: Outcome, faces: Faces) -> None:
        """See `Destination`."""
        if outcome.source.kind == "video":
            self._tables.write(outcome, faces)
        else:
            self._show(outcome.source, faces)

    def finish(self, outcome: Outcome) -> None:
        """See `Destination`."""
        self._tables.finish(outcome)

    def __enter__(self) -> OnScreen:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._tables.stop()


class Overlays:
    """Where annotated pictures and videos go: a file for the one source, or a folder for many.

    Args:
        path: the file; or a folder, in which every source gets `<stem>_overlay.png` or `.mp4`.
        folder: whether it is a folder.
        sources: all inputs. In a folder, their names are given away at once, so that they do not depend on which of them are still
            to be done, and none of these files is overwritten.
    """

    def __init__(self, path: Path, folder: bool, sources: Sequence[Source] = ()) -> None:
        self._path = path
        self._folder = folder
        files = [source.path for source in sources if folder and source.kind != "camera"]
        homes = {parent for parent in {file.parent for file in files} if parent.resolve() == path.resolve()}
        self._names = Names({file.name: "" for file in files if file.parent in homes})
        named = [self.path(source) for source in sources]
        with writing(path):
            remove_scratch(named if folder else [path])  # of runs that were killed

    def path(self, source: Source) -> Path:
        """The annotated file of a source."""
        if not self._folder:
            return self._path
        ending = "_overlay.png" if source.kind == "image" else "_overlay.mp4"
        return self._path / self._names.name(source.name, ending)


Tick = Callable[[Source, float | None, int], None]
"""Called for every frame: the source, the share of it that is done (None: unknown), frames so far."""


@dataclass(slots=True)
class Batch:
    """Work through sources.

    Args:
        detector: judges the faces.
        destination: where rows go.
        overlays: where annotated pictures and videos go.
        calibrate: take each tracked person's resting face out of videos (two passes).
        tick: hears about progress.
        selection: which frames of videos and cameras are looked at.
        smooth: smooth the AUs of videos and cameras (`openau.temporal.smooth`).
        beside: writes tables of events and summaries of videos and cameras.
    """

    detector: Detector
    destination: Destination
    overlays: Overlays | None = None
    calibrate: bool = False
    tick: Tick | None = None
    selection: Selection = WHOLE
    smooth: bool = False
    beside: Beside | None = None

    def run(self, sources: Iterable[Source]) -> Iterator[Outcome]:
        """Process the sources in order; what cannot be read becomes an outcome that says why.

        Raises:
            OutputError: something cannot be written; what was finished stays on disk.
        """
        for source in sources:
            if self.destination.is_finished(source):
                continue
            outcome = Outcome(source)
            try:
                self._process(source, outcome)
            except (InputError, MemoryError) as error:
                scarce = isinstance(error, MemoryError)
                outcome.status = "incomplete" if outcome.frames else "failed"
                outcome.message = f"{source.name}: there is not enough memory to process it" if scarce else str(error)
            if self.beside is not None and outcome.frames and source.kind != "image":
                self.beside.finish_source()
            self.destination.finish(outcome)
            yield outcome
        if self.beside is not None:
            self.beside.close()

    def _process(self, source: Source, outcome: Outcome) -> None:
        if source.error is not None:
            raise source.error
        if source.kind == "image":
            self._picture(source, outcome)
        elif source.kind == "camera":
            try:
                self._video(source, outcome, open_camera(int(source.name), self.selection))
            except KeyboardInterrupt:  # Ctrl-C is how a camera ends
                return
        elif self.calibrate:
            self._calibrated(source, outcome)
        else:
            self._video(source, outcome, self.detector.open(source.path, self.selection))

    def _picture(self, source: Source, outcome: Outcome) -> None:
        seen = self.detector.look(read_image(source.path, self.detector.max_pixels), source.name)
        self._write(outcome, seen.faces)
        if self.overlays is not None:
            write_image(self.overlays.path(source), annotate(seen.frame.image, seen.faces))
        self._report(source, 1.0, 1)

    def _video(self, source: Source, outcome: Outcome, stream: Stream) -> None:
        with stream as frames, self._overlay(source) as draw:
            watched = ((seen.frame, seen.faces) for seen in self._watch(source, frames, 0.0, 1.0))
            for frame, faces in _smoothed(watched, self.detector.columns) if self.smooth else watched:
                self._write(outcome, faces)
                draw(frame, faces)

    def _calibrated(self, source: Source, outcome: Outcome) -> None:
        """Two passes: detect and note down, then write; the second one reads the video again only for an overlay."""
        problem: InputError | None = None
        share = 0.9 if self.overlays is None else 0.7
        with Notes(self.detector.columns, landmarks=self.overlays is not None) as notes:
            try:
                with self.detector.open(source.path, self.selection) as frames:
                    for seen in self._watch(source, frames, 0.0, share):
                        notes.add(seen)
            except InputError as error:
                problem = error
            outcome.notes += _who_was_calibrated(source, notes.people(self.detector.network.neutral))
            for faces in self._noted(source, notes):
                self._write(outcome, faces)
            if self.overlays is not None and outcome.frames:
                self._draw_again(source, notes)
        if problem is not None:
            raise problem

    def _noted(self, source: Source, notes: Notes) -> Iterator[Faces]:
        frames = notes.frames(source.name)
        return smooth(frames, self.detector.columns) if self.smooth else frames

    def _draw_again(self, source: Source, notes: Notes) -> None:
        with (
            self.detector.open(source.path, self.selection) as frames,
            self._overlay(source) as draw,
            Prefetch(frames) as ahead,
        ):
            for frame, faces in zip(ahead, self._noted(source, notes), strict=False):
                draw(frame, faces)
                self._report(source, _share(frames, frame, 0.7, 1.0), frame.index + 1)

    def _watch(self, source: Source, frames: Stream, start: float, end: float) -> Iterator[Observation]:
        live = source.kind == "camera"
        with closing(self.detector.watch_frames(frames, source.name, live)) as observations:  # type: ignore[type-var]
            for seen in observations:
                self._report(source, _share(frames, seen.frame, start, end), seen.frame.index + 1)
                yield seen

    def _write(self, outcome: Outcome, faces: Faces) -> None:
        self.destination.write(outcome, faces)
        if self.beside is not None and outcome.source.kind != "image":
            self.beside.write(faces, outcome.output)
        outcome.count(faces)

    def _overlay(self, source: Source) -> _Drawing:
        return _Drawing(VideoOverlay(self.overlays.path(source)) if self.overlays is not None else None)

    def _report(self, source: Source, share: float | None, frames: int) -> None:
        if self.tick is not None:
            self.tick(source, share, frames)


class _Drawing:
    """The annotated video of one source, or none. A video that cannot be read to its end still has its first part annotated."""

    def __init__(self, video: VideoOverlay | None) -> None:
        self._video = video

    def __call__(self, frame: Frame, faces: Faces) -> None:
        if self._video is not None:
            self._video.write(frame.image, faces)

    def __enter__(self) -> _Drawing:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._video is None:
            return
        if kind is None or isinstance(error, InputError | KeyboardInterrupt):
            self._video.close()
        else:
            self._video.discard()


def _smoothed(seen: Iterable[tuple[Frame, Faces]], columns: AUColumns) -> Iterator[tuple[Frame, Faces]]:
    """Frames with their smoothed rows; of a source that cannot be read to its end, all that were read."""
    smoother = Smoother(columns)
    problem: InputError | None = None
    waiting: Frame | None = None
    try:
        for frame, faces in seen:
            ready = smoother.add(faces)
            if ready is not None and waiting is not None:
                yield waiting, ready
            waiting = frame
    except InputError as error:
        problem = error
    ready = smoother.finish()
    if ready is not None and waiting is not None:
        yield waiting, ready
    if problem is not None:
        raise problem


def _share(frames: Stream, frame: Frame, start: float, end: float) -> float | None:
    """How much of a source is done, if its duration is known."""
    share = frames.share(frame.time)
    return None if share is None else start + (end - start) * share


def _who_was_calibrated(source: Source, people: dict[int, int]) -> list[str]:
    """A sentence if someone was seen too briefly for their resting face to be known."""
    brief = [person for person, frames in people.items() if frames < MIN_FRAMES]
    if not brief:
        return []
    faces = f"face {brief[0]}" if len(brief) == 1 else f"{len(brief)} faces"
    return [f"{source.name}: {faces} seen in fewer than {MIN_FRAMES} frames, left as measured by --calibrate"]
