"""From a licensed folder to aligned faces and a manifest: the engine of `openau prepare`.

OUT/images/<clip>/<frame>.jpg   crops (template `crop320`), frame numbers with six digits
OUT/manifest.parquet            every labelled frame (`openau.datasets.manifest`); written last, so it stands for a finished data set
OUT/problems.csv                everything there was to tell (kind, path, row, reason, known)
OUT/prepare.json                what was asked for (a later run must ask for the same, but for `limit`), counts, frames per second
OUT/parts/<clip>.parquet        what became of a recording, written when all its crops are; resuming skips it unless it had problems

Recordings are cropped in parallel; the manifest, the crops and the list of problems are the same bytes for any number of workers.
Labels are read afresh on every run, so that corrected label files reach the manifest without looking for faces again.
"""

from __future__ import annotations

import csv
import io
import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openau import __version__, workers
from openau.datasets import checks
from openau.datasets.clips import Clip, DataSetReader, Floats, Problem
from openau.datasets.crops import TEMPLATE, Alignment, Job, OnMiss, Part, crop_recording, part_path, read_part
from openau.datasets.manifest import FIVE_POINTS, TEMPLATE_KEY, write_manifest
from openau.errors import InputError, UsageError
from openau.facs import intensity_column, occurrence_column
from openau.outputs import make_folder, whole_file, writing

if TYPE_CHECKING:
    import pyarrow as pa

RECORD = "prepare.json"
OWN_COLUMNS = ("image", "subject", "clip", "frame", "fold", "dataset", "people", "alignment", FIVE_POINTS)

Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Plan:
    """What to prepare.

    Attributes:
        root: folder of the data set. out: folder to write to.
        on_miss: what becomes of frames without a face.
        limit: only the first so many recordings, for a try; None for all.
        strict: stop at the first problem that is not known of the published data set.
    """

    root: Path
    out: Path
    on_miss: OnMiss = "skip"
    limit: int | None = None
    strict: bool = False

    def settings(self, dataset: str) -> Settings:
        """What decides the result; all but `limit` must be the same when a run goes on."""
        return {
            "dataset": dataset,
            "root": str(self.root.resolve()),
            "on_miss": self.on_miss,
            "limit": self.limit,
            "template": TEMPLATE,
            "openau": __version__,
        }


@dataclass(frozen=True, slots=True)
class Summary:
    """What came out.

    Attributes:
        recordings, people, frames: how many there are; frames are labelled ones.
        alignments: how many frames are "found", "previous", "full-frame" and "none".
        problems: everything there was to tell, in the order of `problems.csv`.
        prepared: frames of the recordings cropped by this run. seconds: it took for them.
    """

    recordings: int
    people: int
    frames: int
    alignments: Mapping[Alignment, int]
    problems: Sequence[Problem]
    prepared: int
    seconds: float

    @property
    def rate(self) -> float | None:
        """Labelled frames per second of this run; None if everything was there."""
        return self.prepared / self.seconds if self.prepared else None

    @property
    def failed(self) -> bool:
        """Whether there is a problem that is not known of the published data set."""
        return not all(problem.known for problem in self.problems)


@dataclass(slots=True)
class _Log:
    """Collects problems; a strict one stops at the first that is not known."""

    strict: bool
    problems: list[Problem] = field(default_factory=list)

    def __call__(self, problem: Problem) -> None:
        if self.strict and not problem.known:
            raise InputError(f"{problem} (stopped by --strict; no manifest was written)")
        self.problems.append(problem)


def manifest_path(out: Path) -> Path:
    """Where a prepared data set's manifest is."""
    return out / "manifest.parquet"


def prepare(
    reader: DataSetReader,
    plan: Plan,
    count: int | None = None,
    on_start: Callable[[int, int], None] = lambda done, total: None,
    on_frames: Callable[[int], None] = lambda frames: None,
) -> Summary:
    """Prepare (or finish preparing) a data set.

    Args:
        reader: of the data set.
        plan: what to prepare, from where to where.
        count: of worker processes; default one per CPU.
        on_start: told the frames that are there already and those there will be, once labels are read.
        on_frames: told how many more frames are done, now and then.

    Raises:
        InputError: the root does not hold this data set; or, if strict, the first problem.
        UsageError: the folder holds another data set, or one prepared with other settings.
        OutputError: the folder cannot be written, or a worker process was killed.
    """
    log = _Log(plan.strict)
    _require_same(plan, reader.name)
    with writing(manifest_path(plan.out)):
        manifest_path(plan.out).unlink(missing_ok=True)
    clips = _clips(reader, plan, log)
    make_folder(plan.out, parents=True)
    _write_json({"settings": plan.settings(reader.name)}, plan.out / RECORD)
    jobs = [Job.of(clip) for clip in clips]
    waiting = [job for job in jobs if not _finished(job, plan.out)]
    total, left = (sum(len(job.frame) for job in some) for some in (jobs, waiting))
    on_start(total - left, total)
    start = time.perf_counter()
    _crop(waiting, plan, count, on_frames)
    seconds = time.perf_counter() - start
    parts = [_part(job, plan.out) for job in jobs]
    for part in parts:
        log.problems += part.problems
    whole = plan.limit is None and reader.name in checks.PUBLISHED
    checks.tell_absent_aus(clips, reader.usual_aus if whole else (), plan.root, log)
    summary = Summary(
        recordings=len(clips),
        people=len({clip.subject for clip in clips}),
        frames=total,
        alignments=Counter(alignment for part in parts for alignment in part.alignment),
        problems=tuple(log.problems),
        prepared=left,
        seconds=seconds,
    )
    _write_problems(summary.problems, plan.out / "problems.csv")
    _write_record(plan, reader.name, summary)
    write_manifest(assemble(clips, parts, reader), manifest_path(plan.out))
    return summary


def _crop(jobs: Sequence[Job], plan: Plan, count: int | None, on_frames: Callable[[int], None]) -> None:
    """Crop recordings; what there is to tell ends up in their parts.

    Raises:
        InputError: if strict, the first problem that is not known.
    """
    # Long recordings first, so that no worker is left alone with one at the end.
    order = sorted(jobs, key=lambda job: -len(job.frame))
    arguments = [(job, plan.out, plan.on_miss) for job in order]
    strict = _Log(plan.strict)
    for told in workers.run(crop_recording, arguments, plan.out, count, on_frames):
        for problem in told:
            strict(problem)


def assemble(clips: Sequence[Clip], parts: Sequence[Part], reader: DataSetReader) -> pa.Table:
    """The manifest of recordings and what became of them: labels from the one, crops from the other."""
    import pyarrow as pa

    counts = [len(clip.frame) for clip in clips]

    def repeat(values: Sequence[object], kind: pa.DataType) -> pa.Array:
        return pa.array([value for value, n in zip(values, counts, strict=True) for _ in range(n)], kind)

    columns = {
        "image": pa.array([name for part in parts for name in part.image], pa.string()),
        "subject": repeat([clip.subject for clip in clips], pa.string()),
        "clip": repeat([clip.name for clip in clips], pa.string()),
        "frame": pa.array(np.concatenate([clip.frame for clip in clips]), pa.int64()),
        "fold": repeat([clip.fold for clip in clips], pa.int64()),
        **_label_columns(clips),
        "dataset": repeat([reader.name] * len(clips), pa.string()),
        "people": repeat([reader.people] * len(clips), pa.string()),
        "alignment": pa.array([alignment for part in parts for alignment in part.alignment], pa.string()),
        FIVE_POINTS: pa.array([points for part in parts for points in part.five_points], pa.list_(pa.float32())),
        **_extra_columns(clips),
    }
    facts = {TEMPLATE_KEY: TEMPLATE, "openau.version": __version__, "openau.dataset": reader.name}
    return pa.table(columns).replace_schema_metadata(facts)


def _label_columns(clips: Sequence[Clip]) -> dict[str, pa.Array]:
    """All AU columns, in FACS order: occurrence, then intensity, then sides."""
    import pyarrow as pa

    def column(labels: Sequence[Floats | None], kind: pa.DataType) -> pa.Array:
        unknown = (np.full(len(clip.frame), np.nan, np.float32) for clip in clips)
        values = np.concatenate([u if v is None else v for v, u in zip(labels, unknown, strict=True)])
        return pa.array(np.nan_to_num(values), mask=np.isnan(values)).cast(kind)

    occurrence = sorted({au for clip in clips for au in clip.occurrence})
    intensity = sorted({au for clip in clips for au in clip.intensity})
    sides = sorted({key for clip in clips for key in clip.sides})
    return {
        **{occurrence_column(au): column([c.occurrence.get(au) for c in clips], pa.int8()) for au in occurrence},
        **{intensity_column(au): column([c.intensity.get(au) for c in clips], pa.float32()) for au in intensity},
        **{occurrence_column(*key): column([c.sides.get(key) for c in clips], pa.int8()) for key in sides},
    }


def _extra_columns(clips: Sequence[Clip]) -> dict[str, pa.Array]:
    """The readers' free columns; null for recordings that lack one."""
    import pyarrow as pa

    names = sorted({name for clip in clips for name in clip.extra})
    taken = [name for name in names if name in OWN_COLUMNS]
    if taken:
        raise ValueError(f"a reader may not fill the manifest's own column {taken[0]!r}")
    values = {
        name: [value for clip in clips for value in clip.extra.get(name, [None] * len(clip.frame))] for name in names
    }
    return {name: pa.array(column, from_pandas=True) for name, column in values.items()}


def _clips(reader: DataSetReader, plan: Plan, log: _Log) -> list[Clip]:
    """The recordings to prepare, checked.

    Raises:
        InputError: there are none.
    """
    found = reader.read(plan.root, log)
    checks.tell_empty_parts(reader.name, found, plan.root, log)
    clips = checks.repaired(found[: plan.limit], log)
    clips = [clip for clip in clips if len(clip.frame)]
    if not any(clip.occurrence or clip.intensity for clip in clips):
        first = next((f"; first of all, {problem}" for problem in log.problems if not problem.known), "")
        raise InputError(f"{plan.root}: holds no labelled recording of {reader.title}{first}")
    return clips


def _finished(job: Job, out: Path) -> bool:
    part = read_part(part_path(out, job.name))
    return (
        part is not None and part.sound and part.fits(job) and all((out / name).exists() for name in part.image if name)
    )


def _part(job: Job, out: Path) -> Part:
    part = read_part(part_path(out, job.name))
    if part is None:
        raise InputError(f"{part_path(out, job.name)}: cannot be read back, though it was just written")
    return part


def _require_same(plan: Plan, dataset: str) -> None:
    """Refuse a folder that holds something else.

    Raises:
        UsageError: it does.
    """
    record = plan.out / RECORD
    if not record.exists():
        if manifest_path(plan.out).exists():
            raise UsageError(f"{plan.out}: holds another data set (manifest.parquet); choose another folder")
        return
    try:
        before = json.loads(record.read_text(encoding="utf-8"))["settings"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"{record}: cannot be read or is damaged; choose another folder") from None
    wanted = plan.settings(dataset)
    for name in wanted:
        if name != "limit" and before.get(name) != wanted[name]:
            raise UsageError(
                f"{plan.out}: holds a data set prepared with {name} = {before.get(name)}, not {wanted[name]} ({RECORD}); "
                "choose another folder"
            )


def _write_record(plan: Plan, dataset: str, summary: Summary) -> None:
    kinds = Counter(problem.kind for problem in summary.problems)
    record = {
        "settings": plan.settings(dataset),
        "recordings": summary.recordings,
        "people": summary.people,
        "frames": summary.frames,
        "alignments": dict(sorted(summary.alignments.items())),
        "problems": dict(sorted(kinds.items())),
        "last_run": {
            "frames": summary.prepared,
            "seconds": round(summary.seconds, 2),
            "frames_per_second": summary.rate,
        },
    }
    _write_json(record, plan.out / RECORD)


def _write_json(content: Settings, path: Path) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_problems(problems: Sequence[Problem], path: Path) -> None:
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(["kind", "path", "row", "reason", "known"])
    for problem in problems:
        table.writerow([problem.kind, problem.path, problem.row, problem.reason, problem.known])
    with whole_file(path) as scratch:
        scratch.write_text(text.getvalue(), encoding="utf-8", errors="backslashreplace")
