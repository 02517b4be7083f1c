"""`openau prepare`: from a data set's own folder to aligned faces and a manifest."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from openau.cli import complain, voice
from openau.datasets.clips import DataSetReader, Problem
from openau.datasets.crops import Alignment
from openau.datasets.prepare import Plan, Summary, manifest_path, prepare
from openau.datasets.registry import NAMES, reader
from openau.errors import UsageError

_FEW = 3
"""Problems of a kind that are shown; the others are in `problems.csv`."""
_LONG = 240
"""Characters of a problem that are shown; `problems.csv` has the whole reason."""


def _data_sets() -> str:
    return "Data sets:\n\n" + "\n\n".join(f"  {name:<8} {reader(name).title}" for name in NAMES)


app = typer.Typer(add_completion=False)


@app.command(no_args_is_help=True, epilog=_data_sets())
def command(
    name: Annotated[
        str,
        typer.Argument(help="A data set (see below), or `list` for what each holds, where to get it and whom to cite."),
    ],
    root: Annotated[
        Path | None, typer.Option("--root", help="Folder in which the data set lies, as published; read only.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="Folder to write to; run again to go on where a run stopped.")
    ] = None,
    on_miss: Annotated[
        Literal["skip", "previous", "full-frame"],
        typer.Option(
            help="What becomes of a frame in which no face is found: `skip` = a row without a picture, `previous` = the place of the "
            "last face in the same recording, `full-frame` = the middle square of the whole frame."
        ),
    ] = "skip",
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first problem, without a manifest and with exit code 1.")
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(min=1, help="Only the first so many recordings, for a try; a run without it goes on from there."),
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes. Default: one per CPU.")] = None,
) -> None:
    """Find and crop the faces of a labelled data set, and write a manifest of its labels.

    OUT/manifest.parquet has a row for every labelled frame; OUT/images the
    crops, aligned as in detection; OUT/problems.csv whatever was amiss, with
    file and row. Problems are summed up and end in exit code 1; all that they
    do not concern is there and can be used. For example:

      openau prepare bp4d --root BP4D --out prepared --limit 2   a first try

      openau prepare disfa --root DISFA -o disfa

      openau prepare folder --root my_videos -o mine --on-miss previous

      openau prepare list
    """
    if name == "list":
        _show_data_sets()
        return
    chosen = reader(name)
    if root is None or out is None:
        raise UsageError(
            f"say where the data set is and where to write: openau prepare {name} --root FOLDER --out FOLDER"
        )
    summary = run(chosen, Plan(root, out, on_miss, limit, strict), workers)
    if summary.failed:
        raise typer.Exit(1)


def run(chosen: DataSetReader, plan: Plan, workers: int | None = None) -> Summary:
    """Prepare under a progress bar, and tell what came out."""
    with _progress() as bars:
        task = bars.add_task("reading labels", total=None, rate="")

        def start(done: int, total: int) -> None:
            bars.update(task, description="frames", completed=done, total=total)

        def advance(frames: int) -> None:
            bars.advance(task, frames)
            bars.update(task, rate=f"{bars.tasks[0].speed or 0:.0f}/s")

        summary = prepare(chosen, plan, workers, start, advance)
    _tell(summary, plan.out)
    return summary


def _progress() -> Progress:
    console = voice.console()
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def _tell(summary: Summary, out: Path) -> None:
    """The result on stdout, problems by kind on stderr."""
    kinds: dict[str, list[Problem]] = defaultdict(list)
    for problem in summary.problems:
        kinds[problem.kind].append(problem)
    for kind, problems in kinds.items():
        known = " (no reason to fail)" if all(problem.known for problem in problems) else ""
        complain(f"{len(problems):,} × {kind}{known}")
        for problem in sorted(problems, key=lambda problem: problem.known)[:_FEW]:
            text = str(problem)
            typer.echo(f"  {text if len(text) <= _LONG else text[: _LONG - 2] + ' …'}", err=True)
        if len(problems) > _FEW:
            typer.echo(f"  … and {len(problems) - _FEW:,} more", err=True)
    if kinds:
        complain(f"every one with file and row: {out / 'problems.csv'}")
    counts = summary.alignments
    fates: tuple[tuple[Alignment, str], ...] = (
        ("previous", "at the place of the last face"),
        ("full-frame", "as whole frames"),
        ("none", "without a picture"),
    )
    cropped = "".join(f", {counts[how]:,} {words}" for how, words in fates if counts.get(how))
    typer.echo(
        f"{_count(summary.frames, 'labelled frame')} in {_count(summary.recordings, 'recording')} of "
        f"{_count(summary.people, 'person', 'people')}: {_count(counts.get('found', 0), 'face')} found{cropped}"
    )
    speed = "" if summary.rate is None else f" ({_count(summary.prepared, 'frame')} at {summary.rate:.0f} frames/s)"
    typer.echo(f"{manifest_path(out)}{speed}")


def _count(number: int, one: str, more: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else more or one + 's'}"


def _show_data_sets() -> None:
    for name in NAMES:
        found = reader(name)
        anything = name == "folder"
        facts = {
            "AUs": "any" if anything else _numbers(found.aus),
            "usual": "" if set(found.usual_aus) == set(found.aus) else _numbers(found.usual_aus),
            "intensity": "any" if anything else _numbers(found.intensity_aus),
            "to be had": found.licence,
            "cite": found.citation,
        }
        typer.echo(f"{name}  {found.title}")
        for what, words in facts.items():
            if words:
                typer.echo(f"    {what + ':':<11}{words}")
        typer.echo()


def _numbers(aus: tuple[int, ...]) -> str:
    return " ".join(str(au) for au in aus)
