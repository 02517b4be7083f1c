"""Render a whole data set: people in parallel, the same bytes for the same seed whatever the number of workers, resumable.

DIR/dataset.json             what was asked for (a later run must ask for the same)
DIR/images/00012/007.jpg     picture 7 of person 12
DIR/parts/00012.parquet      person 12's labels, written when all its pictures are; resuming skips finished people
DIR/manifest.parquet         all labels, written at the end (`openau.datasets.manifest`)
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from openau.errors import InputError, UsageError
from openau.outputs import writing
from openau.synth.labels import label_columns, levels_of
from openau.synth.parameters import Person, RigName, Shot
from openau.synth.plan import Plan, Sources
from openau.workers import run

if TYPE_CHECKING:
    from openau.synth.assets import Assets
    from openau.synth.sampler import Recipe
    from openau.synth.scene import Picture, Studio

Settings = dict[str, Any]
"""What `dataset.json` holds."""

_RECORD = "dataset.json"


def render(plan: Plan, out: Path, workers: int | None = None) -> Iterator[int]:
    """Render (or finish rendering) a plan; yields the number of pictures finished since the last yield.

    Args:
        plan: what to render.
        out: folder of the data set.
        workers: processes; default one per CPU.

    Raises:
        UsageError: the folder holds another plan's data set.
        InputError: the folder's record of its settings is damaged, or the asset folder is.
        WeightsError: a rig is not at hand.
        OutputError: the folder cannot be written, or a worker process was killed.
    """
    before = _settings_of(out, plan)
    _require_rigs(plan)
    _claim(out, plan, before)
    waiting = [number for number in range(plan.people) if not _part(out, number).exists()]
    if len(waiting) < plan.people:
        yield (plan.people - len(waiting)) * plan.images
    yield from run(render_person, [(plan, out, number) for number in waiting], out, workers)
    _merge(plan, out)


def manifest_path(out: Path) -> Path:
    """Where a data set's manifest is."""
    return out / "manifest.parquet"


def _part(out: Path, number: int) -> Path:
    return out / "parts" / f"{number:05d}.parquet"


def recorded(out: Path) -> Settings | None:
    """What was asked for when this folder was rendered; None if it was not.

    Raises:
        InputError: the record is damaged.
    """
    record = out / _RECORD
    return _read_settings(record) if record.exists() else None


def _settings_of(out: Path, plan: Plan) -> Settings | None:
    """What an earlier run into this folder asked for, None if there was none.

    Raises:
        UsageError: it was something else than a part of this plan.
    """
    before, wanted = recorded(out), settings_of(plan)
    if before is None:
        return None
    if {**before, "people": None} != {**wanted, "people": None} or before["people"] > plan.people:
        raise UsageError(f"{out}: holds a data set rendered with other settings ({_RECORD}); choose another folder")
    return before


def settings_of(plan: Plan) -> Settings:
    """What `dataset.json` holds for a plan."""
    rigs = list(plan.rigs) if isinstance(plan.rigs, tuple) else dict(plan.shares())
    return {**asdict(plan), "rigs": rigs, "assets": isinstance(plan.assets, Path)}


def _require_rigs(plan: Plan) -> None:
    """Find out what is missing before a folder is made or a process started."""
    assets = _assets(plan.assets)
    for rig in plan.shares():
        assets.rig_file(rig)


def _claim(out: Path, plan: Plan, before: Settings | None) -> None:
    """Create the folder and write down the plan; more people than before extend the data set."""
    wanted = settings_of(plan)
    if before == wanted:
        return
    with writing(out):
        (out / "parts").mkdir(parents=True, exist_ok=True)
        partial = (out / _RECORD).with_suffix(".partial")
        partial.write_text(json.dumps(wanted, indent=1))
        partial.replace(out / _RECORD)


def _read_settings(record: Path) -> Settings:
    try:
        settings: Settings = json.loads(record.read_text())
        # What an earlier version did not record has its default.
        return {**settings_of(Plan(people=0)), **settings, "people": int(settings["people"])}
    except (OSError, ValueError, TypeError, KeyError):
        raise InputError(f"{record}: cannot be read or is damaged; choose another folder") from None


def studio_of(plan: Plan, rig: RigName) -> Studio:
    """This process's studio for a rig and a plan's settings, built on first use."""
    return _studio(rig, plan.assets, plan.size, plan.supersample, plan.shadows)


@cache
def _studio(rig: RigName, sources: Sources, size: int, supersample: int, shadows: bool) -> Studio:
    import cv2

    from openau.synth.scene import Studio

    cv2.setNumThreads(1)
    assets = _assets(sources)
    return Studio(assets.rig(rig), assets, size, supersample, shadows)


@cache
def _assets(sources: Sources) -> Assets:
    """Shared by the studios, so that rigs, skins and hair are loaded once."""
    from openau.synth.assets import Assets

    return Assets(sources)


def render_person(plan: Plan, out: Path, number: int) -> int:
    """Render all pictures of one person, then write that person's part of the manifest; returns the number of pictures.

    Raises:
        OutputError: the folder cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from openau.synth.finish import encode

    person, rng = plan.person(number)
    studio = studio_of(plan, person.rig)
    sitter = studio.person(person, rng)
    folder = out / "images" / f"{number:05d}"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for index, condition in enumerate(plan.conditions_of(number)):
        shot, rng = plan.shot(person, index, condition, studio.rig.recipe)
        picture = studio.shoot(sitter, shot, rng)
        name = f"images/{number:05d}/{index:03d}.jpg"
        with writing(out / name):
            (out / name).write_bytes(encode(picture.image, shot.finish))
        rows.append(
            {
                "image": name,
                "subject": f"{person.rig}-{number:05d}",
                "clip": f"{number:05d}",
                "frame": index,
                "fold": plan.fold_of(number),
                "dataset": plan.name,
                "condition": condition,
                **_described(person, shot, picture, studio.rig.recipe),
            }
        )
    part = _part(out, number)
    partial = part.with_suffix(".partial")
    with writing(part):
        pq.write_table(pa.Table.from_pylist(rows, schema=_schema(plan)), partial)
        partial.replace(part)
    return plan.images


def _described(person: Person, shot: Shot, picture: Picture, recipe: Recipe) -> dict[str, Any]:
    """Labels and free columns of one picture."""
    pitch, yaw, roll = shot.head
    return {
        **label_columns(levels_of(shot, picture.lip_gap, recipe)),
        "rig": person.rig,
        "sex": person.sex,
        "age": person.age,
        "tone": person.tone,
        "beard": person.beard,
        "glasses": (shot.glasses or person.glasses) is not None,
        "pitch": pitch,
        "yaw": yaw,
        "roll": roll,
        "talking": shot.talking,
        "wrinkled": bool(shot.wrinkles),
        "lip_gap": picture.lip_gap,
        "eye_opening_L": picture.eye_opening[0],
        "eye_opening_R": picture.eye_opening[1],
        "landmarks": picture.landmarks.ravel().tolist(),
    }


def _schema(plan: Plan) -> Any:
    """The manifest's columns; fixed, since a column may be null throughout one person's part.

    `dataset` and `condition` are there only where the plan has them, so that older data sets can be extended.
    """
    import pyarrow as pa

    from openau.synth.labels import Level
    from openau.synth.parameters import RENDERED_AUS

    labels = label_columns({number: Level(0.0, 0.0) for number in RENDERED_AUS})
    fields = [
        ("image", pa.string()),
        ("subject", pa.string()),
        ("clip", pa.string()),
        ("frame", pa.int64()),
        ("fold", pa.int64()),
    ]
    fields += [("dataset", pa.string())] * (plan.name is not None)
    fields += [("condition", pa.string())] * (plan.conditions is not None)
    fields += [(name, pa.float32() if "_i" in name else pa.int8()) for name in labels]
    fields += [("rig", pa.string()), ("sex", pa.string())]
    fields += [(name, pa.float32()) for name in ("age", "tone", "beard")]
    fields += [("glasses", pa.bool_())]
    fields += [(name, pa.float32()) for name in ("pitch", "yaw", "roll")]
    fields += [("talking", pa.bool_()), ("wrinkled", pa.bool_())]
    fields += [(name, pa.float32()) for name in ("lip_gap", "eye_opening_L", "eye_opening_R")]
    fields += [("landmarks", pa.list_(pa.float32()))]
    return pa.schema(fields)


def _merge(plan: Plan, out: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from openau.datasets.manifest import write_manifest

    write_manifest(
        pa.concat_tables(pq.read_table(_part(out, number)) for number in range(plan.people)), manifest_path(out)
    )
