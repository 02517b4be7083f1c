"""`openau bench`: timings on this machine."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from openau.bench import machine
from openau.cli.progress import working
from openau.errors import InputError, UsageError
from openau.outputs import require_folder, whole_file

if TYPE_CHECKING:
    from openau.bench.auformer import Taken

app = typer.Typer(help="Time detection and rendering on this machine.", no_args_is_help=True, add_completion=False)

SHORT = 1.0
"""Minutes with whose peak memory that of `--long` is compared."""


@app.callback()
def _group() -> None:
    """Time detection and rendering on this machine."""


@app.command("detect")
def detect(
    clip: Annotated[
        Path | None, typer.Argument(help="A video to measure on, as it is. Default: the demo's face in 720p.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Length of the clip made of the demo's.")] = 10,
    size: Annotated[str, typer.Option("--size", help="Of that clip: 720p or 4k.")] = "720p",
    faces: Annotated[int, typer.Option("--faces", min=1, help="Faces in every frame of that clip.")] = 1,
    repeat: Annotated[int, typer.Option("--repeat", min=1, help="Runs of the whole, of which the median is told.")] = 3,
    model: Annotated[str, typer.Option("--model", help="A name of `openau models`, or an .onnx file.")] = "default",
    mirror: Annotated[bool, typer.Option("--mirror/--no-mirror", help="Judge each face's mirror image too.")] = True,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="Threads of each network.")] = None,
    long: Annotated[
        float | None, typer.Option("--long", min=1, help="Also compare the peak memory of 1 and of so many minutes.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """Time detection: milliseconds per stage, frames per second, peak memory.

    Stages are timed alone, one thread each; in a video they overlap (frames
    are read in one thread, faces followed in another and judged in a third),
    faces are judged in larger batches, and the whole face detector runs only
    in part of the frames, so the end-to-end rate is higher than the sum of
    the stages suggests.
    """
    from openau.bench.clips import SIZES, make_clip
    from openau.bench.detect import compare_lengths, first_result, run_whole, time_stages
    from openau.demo import CLIP
    from openau.runtime import Detector

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    if clip is None and not CLIP.is_file():
        raise InputError(f"{CLIP}: the demo's clip is missing from this installation; give a video to measure on")
    if size not in SIZES:
        raise UsageError(f"--size {size}: there is no such size; there are {', '.join(SIZES)}")
    with working("timing detection"), tempfile.TemporaryDirectory() as folder:
        video = clip
        if video is None:
            video = make_clip(CLIP, Path(folder) / "clip.mp4", seconds, SIZES[size], faces)
        stages = time_stages(video, Detector(model, mirror=mirror, threads=threads))
        runs = [run_whole(video, model, mirror, threads) for _ in range(repeat)]
        whole = sorted(runs, key=lambda run: run.seconds)[len(runs) // 2]
        numbers = {f"{stage.name}, ms": stage.milliseconds for stage in stages}
        calls = {f"{stage.name}, ms": f"{stage.per_frame:g}×" for stage in stages}
        numbers |= {
            "end to end, frames/s": whole.rate,
            "end to end, best run": max(run.rate for run in runs),
            "end to end, faces/s": whole.face_rate,
            "frames with a face, %": 100 * whole.covered / whole.frames,
            "peak memory, MB": max(run.megabytes for run in runs),
            "one picture from start to end, s": median(first_result(model) for _ in range(repeat)),
        }
        if long is not None:
            lengths = compare_lengths(video, model, (SHORT, long), mirror, threads)
            numbers |= {f"peak memory of {minutes:g} min, MB": run.megabytes for minutes, run in lengths}
            numbers |= {f"end to end of {minutes:g} min, frames/s": run.rate for minutes, run in lengths}
            numbers["memory difference, MB"] = lengths[-1][1].megabytes - lengths[0][1].megabytes
    console = Console()
    console.print(_table(numbers, "per frame", calls, earlier))
    shown = "face" if faces == 1 else f"face {faces} times"
    what = clip.name if clip is not None else f"the demo's {shown} in {size}, {seconds:g} s"
    typer.echo(f"{what}, n = {whole.frames} frames, {repeat} runs, model {model}, mirror {'on' if mirror else 'off'}")
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


@app.command("synth")
def synth(
    people: Annotated[int, typer.Option(min=1, help="Identities.")] = 8,
    images: Annotated[int, typer.Option(min=1, help="Pictures of each.")] = 30,
    rig: Annotated[str, typer.Option(help="`ict`, `anny`, or `both` (two thirds ICT).")] = "both",
    size: Annotated[int, typer.Option(min=64, max=1024, help="Side of the pictures in pixels.")] = 224,
    supersample: Annotated[int, typer.Option(min=1, max=4, help="Samples per pixel side.")] = 2,
    shadows: Annotated[bool, typer.Option(help="The key light casts a soft shadow.")] = True,
    workers: Annotated[int | None, typer.Option(min=1, help="The most processes to try. Default: one per CPU.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the people and pictures.")] = 0,
    assets: Annotated[
        Path | None,
        typer.Option("--assets", envvar="OPENAU_SYNTH_ASSETS", help="Folder with optional CC0 skins and hair."),
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """Time rendering: pictures per second, milliseconds per stage, and what supersampling and shadows cost.

    Pictures per second include everything `openau synth` does for them: new
    people, labels, JPEG, files. Loading and compiling happen once per process
    and are left out. Stages are timed alone, in one process.
    """
    from openau.bench.synth import rigs_in, time_stages, time_workers
    from openau.cli.synth import shares
    from openau.synth.plan import Plan

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    plan = Plan(people, images, seed, shares(rig), size, supersample, shadows, assets)
    numbers: dict[str, float] = {}
    calls: dict[str, str] = {}
    with working("timing the stages"):
        timed = time_stages(plan)
    for name, stages in timed.items():
        rows = {"identity": f"1/{images}", "shoot": "1×", "JPEG": "1×", "write": "1×"}
        values = (stages.identity, stages.shoot, stages.encode, stages.write)
        numbers |= {f"{name} {row}, ms": value for row, value in zip(rows, values, strict=True)}
        calls |= {f"{name} {row}, ms": often for row, often in rows.items()}
        numbers[f"{name} sum, ms per picture"] = stages.per_picture(images)
        for variant, value in stages.variants.items():
            numbers[f"{name} shoot, {variant}, ms"] = value
            numbers[f"{name} shoot: with / {variant}"] = stages.price(variant)
    most = workers or machine.cores()
    with working("timing whole data sets"):
        rates = list(time_workers(plan, _powers_of_two(most)))
    for rate in rates:
        what = f", {rate.setting}" if rate.setting else ""
        numbers[f"pictures/s, {rate.workers} worker{'s' * (rate.workers > 1)}{what}"] = rate.per_second
    Console().print(_table(numbers, "per picture", calls, earlier))
    typer.echo(
        f"{size} px, supersample {supersample}, shadows {'on' if shadows else 'off'}, JPEG written, "
        f"{people} identities ({', '.join(f'{count} {name}' for name, count in rigs_in(plan).items())}), "
        f"{images} pictures of each, {'assets' if assets is not None else 'everything painted'}"
    )
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


@app.command("loader")
def loader(
    data: Annotated[
        Path | None,
        typer.Argument(help="Prepared or rendered data set (manifest.parquet). Default: crops of the demo's face."),
    ] = None,
    store: Annotated[
        Path | None, typer.Option("--store", help="Feature store. Default: a random one of the true shapes.")
    ] = None,
    workers: Annotated[
        list[int] | None,
        typer.Option(min=0, help="Loader processes to try; may be given several times. Default 0 1 2."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training step.")] = 1,
    batch: Annotated[int, typer.Option(min=2, help="Pictures of a batch.")] = 32,
    seconds: Annotated[float, typer.Option(min=0.1, help="Of each measurement in a round.")] = 6,
    rounds: Annotated[int, typer.Option(min=1, help="Loader, step and both are measured in turn so often.")] = 3,
    size: Annotated[int, typer.Option(min=64, help="Faces and pictures of the made-up data.")] = 1536,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """Does data loading keep up with training? Faces per second of the loader alone, of the step alone, and of both.

    Two models: the default one on stored features, and a plain ViT of 5.7 M
    parameters and 2.5 GFLOP on pictures. Loading is no bottleneck where
    `kept`, the share of the step's own rate that training reaches, is near 1.
    """
    from openau.bench import loader as bench
    from openau.demo import CLIP
    from openau.training.features import FeatureStore

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    with working("timing loaders"), tempfile.TemporaryDirectory() as folder, bench.torch_threads(threads):
        opened = bench.make_store(Path(folder) / "store", size) if store is None else FeatureStore.open(store)
        rates = bench.time_features(opened, seconds, rounds)
        manifest = (
            bench.make_pictures(CLIP, Path(folder) / "crops", size) if data is None else data / "manifest.parquet"
        )
        rates += bench.time_pictures(manifest, workers or (0, 1, 2), batch, seconds, rounds)
    numbers: dict[str, float] = {}
    for rate in rates:
        numbers |= {
            f"{rate.name}: loader alone, per s": rate.loader,
            f"{rate.name}: step alone, per s": rate.step,
            f"{rate.name}: both, per s": rate.together,
            f"{rate.name}: loader / step": rate.loader / rate.step,
            f"{rate.name}: kept": rate.together / rate.step,
        }
    Console().print(_table(numbers, "", {}, earlier))
    typer.echo(
        f"median of {rounds} rounds of {seconds:g} s each, step on {threads} thread{'s' * (threads > 1)}, pictures in batches of {batch}"
    )
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


@app.command("prepare")
def prepare(
    frames: Annotated[int, typer.Option("--frames", min=50, help="Frames of each recording.")] = 400,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="The most processes to try. Default: one per CPU.")
    ] = None,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """Time `openau prepare`: frames per second, beside reading the files alone.

    On recordings of the demo's face, as DISFA has them (video, 1024×768) and
    as BP4D has them (JPEG, 1040×1392). Reading alone runs in one process;
    videos are decoded on several threads even so.
    """
    from openau.bench.prepare import time_prepare
    from openau.demo import CLIP

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    most = workers or machine.cores()
    numbers: dict[str, float] = {}
    with working("timing preparation"):
        rates = list(time_prepare(CLIP, frames, _powers_of_two(most)))
    for rate in rates:
        numbers[f"{rate.kind}, read alone, frames/s"] = rate.decode
        numbers[f"{rate.kind}, {rate.workers} worker{'s' * (rate.workers > 1)}, frames/s"] = rate.prepare
    Console().print(_table(numbers, "", {}, earlier))
    typer.echo(f"n = {most} recordings of {frames} frames each")
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


@app.command("distill")
def distill(
    peers: Annotated[
        list[int] | None,
        typer.Option("--peers", min=1, help="Peers to try; may be given several times. Default 1 2 3 4."),
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of the training step.")] = 1,
    rounds: Annotated[int, typer.Option(min=1, help="Every setting is timed in turn so often.")] = 15,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """What online distillation costs: a training step of K peers beside a step of one model.

    `together` is how peers are run: what reads the features is one matrix
    product for all of them. `apart` runs one after the other. The extractor,
    the frozen face network, is run once however many peers there are; with
    stored features it is not run at all while training.
    """
    from openau.bench import distill as bench
    from openau.bench.loader import torch_threads
    from openau.demo import CLIP
    from openau.training.recipes import FANTRANS

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    counts = sorted({1, *(peers or (1, 2, 3, 4))})
    with working("timing peers"), tempfile.TemporaryDirectory() as folder, torch_threads(threads):
        costs = bench.time_peers(counts, CLIP, Path(folder), rounds)
    one = costs[0]
    numbers = {"extractor, ms per batch": one.extractor}
    for cost in costs:
        what = f"{cost.peers} peer{'s' * (cost.peers > 1)}"
        numbers[f"{what}, ms per step"] = cost.together
        if cost.peers > 1:
            numbers |= {
                f"{what}: apart, ms per step": cost.apart,
                f"{what}: together / apart": cost.together / cost.apart,
                f"{what}: times one, stored features": cost.together / one.together,
                f"{what}: times one, with the extractor": (cost.extractor + cost.together)
                / (one.extractor + one.together),
            }
    Console().print(_table(numbers, "", {}, earlier))
    typer.echo(
        f"batches of {FANTRANS.batch_size} faces, median of {rounds} rounds, {threads} thread{'s' * (threads > 1)}"
    )
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


@app.command("auformer")
def auformer(
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            help="AUFormers to time; may be given several times. Default: on ViT-T and on ViT-B, 224 px.",
        ),
    ] = None,
    aus: Annotated[int, typer.Option("--aus", min=1, help="AUs N.")] = 12,
    width: Annotated[int, typer.Option(min=1, help="Bottleneck d of an expert.")] = 8,
    batch: Annotated[
        list[int] | None, typer.Option("--batch", min=1, help="Faces of a step; again for more. Default 1 and 16.")
    ] = None,
    dtype: Annotated[
        list[str] | None, typer.Option("--dtype", help="float32, bfloat16; again for more. Default both.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Threads of PyTorch.")] = 2,
    rounds: Annotated[int, typer.Option(min=1, help="Every way is timed in turn so often.")] = 5,
    reference: Annotated[
        bool, typer.Option("--reference/--no-reference", help="Also time one module per expert, which is slow.")
    ] = True,
    profile: Annotated[
        bool, typer.Option("--profile", help="Then show where a training step of the largest setting goes.")
    ] = False,
    save: Annotated[Path | None, typer.Option("--save", help="Write the numbers to this JSON file.")] = None,
    against: Annotated[
        Path | None, typer.Option("--against", help="Print ratios to an earlier --save, side by side.")
    ] = None,
) -> None:
    """What AUFormer's experts cost beside the bare frozen ViT: judging, and a training step.

    `fused` is what is used, `reference` one module per expert in a loop. A
    bare training step is forward and backward through the frozen ViT down to
    its patch tokens. All on random weights; memory is what the process grew by.
    """
    from openau.bench import auformer as bench
    from openau.bench.loader import torch_threads

    earlier = _read(against) if against is not None else {}
    if save is not None:
        require_folder(save)
    types = dtype or ["float32", "bfloat16"]
    if wrong := [name for name in types if name not in ("float32", "bfloat16")]:
        raise UsageError(f"--dtype {wrong[0]}: is neither float32 nor bfloat16")
    names = model or ["auformer_vit_tiny_patch16_224", "auformer_vit_base_patch16_224"]
    settings = [(size, name) for name in types for size in batch or (1, 16)]
    numbers: dict[str, float] = {}
    try:
        with working("timing AUFormer"), torch_threads(threads):
            for name in names:
                for costs in bench.time_auformer(name, aus, width, settings, rounds, reference):
                    where = f"{name.removeprefix('auformer_')}, {costs.dtype}, batch {costs.batch}"
                    for what, taken in (("judging", costs.judging), ("training step", costs.training)):
                        numbers |= _costs_of(f"{where}: {what}", taken)
            told = bench.profile(names[-1], aus, width, *settings[-1]) if profile else ""
    except ValueError as error:
        raise UsageError(str(error)) from None
    Console().print(_table(numbers, "", {}, earlier))
    if told:
        typer.echo(told)
    typer.echo(f"N = {aus}, d = {width}, {rounds} rounds in turn, {threads} thread{'s' * (threads > 1)}")
    typer.echo(machine.describe())
    if save is not None:
        _save(save, numbers)


def _costs_of(what: str, taken: Mapping[str, Taken]) -> dict[str, float]:
    """Numbers of one step by name: milliseconds, memory, and ratios of medians."""
    found: dict[str, float] = {}
    for way, one in taken.items():
        found |= {
            f"{what}, {way}, ms (median)": one.median,
            f"{what}, {way}, ms (least)": one.least,
            f"{what}, {way}, MB": one.memory,
        }
    bare, fused = taken["bare ViT"].median, taken["fused"].median
    found[f"{what}: fused / bare ViT"] = fused / bare
    if "reference" in taken:
        found[f"{what}: reference / fused"] = taken["reference"].median / fused
    return found


def _powers_of_two(most: int) -> list[int]:
    """1, 2, 4 … and `most`."""
    return [*(2**n for n in range(most.bit_length()) if 2**n < most), most]


def _table(numbers: dict[str, float], per: str, calls: dict[str, str], earlier: dict[str, Any]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("")
    table.add_column("this run", justify="right")
    table.add_column(per, justify="right")
    if earlier:
        table.add_column("earlier", justify="right")
        table.add_column("ratio", justify="right")
    for name, value in numbers.items():
        cells = [name, _number(value), calls.get(name, "")]
        if earlier:
            before = earlier.get(name)
            cells += ["–", "–"] if not before else [_number(before), f"{value / before:.2f}"]
        table.add_row(*cells)
    return table


def _number(value: float) -> str:
    return f"{value:,.{2 if abs(value) < 20 else 1 if abs(value) < 200 else 0}f}"


def _read(path: Path) -> dict[str, Any]:
    try:
        numbers = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is not a file that --save wrote ({error})") from None
    if not isinstance(numbers, dict) or not all(isinstance(value, int | float) for value in numbers.values()):
        raise InputError(f"{path}: is not a file that --save wrote (no numbers by name)")
    return numbers


def _save(path: Path, numbers: dict[str, float]) -> None:
    with whole_file(path) as scratch:
        scratch.write_text(json.dumps(numbers, indent=2) + "\n", encoding="utf-8")
