"""Render a whole data set: people in parallel, the same bytes for the same seed whatever the number of workers, resumable.

DIR/dataset.json             what was asked for (a later run must ask for the same)
DIR/images/00012/007.jpg     picture 7 of person 12
DIR/parts/00012.parquet      person 12's labels, written when all its pictures are; resuming skips finished people
DIR/manifest.parquet         all labels, written at the end (`openau.datasets.manifest`)
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from openau.errors import OutputError, UsageError
from openau.synth.labels import label_columns, levels_of
from openau.synth.parameters import RigName
from openau.synth.sampler import sample_person, sample_shot

if TYPE_CHECKING:
    from openau.synth.scene import Studio

FOLDS = 5
"""People are dealt into this many folds, 1–5, in turn."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to render.

    Attributes:
        people: number of identities. images: pictures of each.
        seed: of everything. rigs: rig → share of the people; shares sum to 1.
        size: side of the pictures in pixels. supersample: samples per pixel side. shadows: whether the key light casts one.
        assets: folder with optional skins, hair and ICT-FaceKit, or None.
    """

    people: int
    images: int = 30
    seed: int = 0
    rigs: Mapping[RigName, float] | None = None
    size: int = 224
    supersample: int = 2
    shadows: bool = True
    assets: Path | None = None

    def shares(self) -> Mapping[RigName, float]:
        """The rigs' shares; by default both, two thirds ICT."""
        return self.rigs or {"ict": 2 / 3, "anny": 1 / 3}

    def rig_of(self, number: int) -> RigName:
        """The rig of person `number`: fixed by seed and number, in the plan's shares."""
        names = sorted(self.shares())
        draw = np.random.default_rng([self.seed, number, 1]).random()
        edges = np.cumsum([self.shares()[name] for name in names])
        return names[min(int(np.searchsorted(edges / edges[-1], draw, side="right")), len(names) - 1)]


def render(plan: Plan, out: Path, workers: int | None = None) -> Iterator[int]:
    """Render (or finish rendering) a plan; yields the number of pictures finished since the last yield.

    Args:
        plan: what to render.
        out: folder of the data set.
        workers: processes; default one per CPU.

    Raises:
        UsageError: the folder holds another plan's data set.
        OutputError: the folder cannot be written.
    """
    _claim(out, plan)
    waiting = [number for number in range(plan.people) if not _part(out, number).exists()]
    if len(waiting) < plan.people:
        yield (plan.people - len(waiting)) * plan.images
    # People of one rig go to the same job where possible: a worker loads a rig on its first use.
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn")) as pool:
        jobs = [pool.submit(_render_person, plan, out, number) for number in waiting]
        try:
            for job in as_completed(jobs):
                yield job.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
    _merge(plan, out)


def manifest_path(out: Path) -> Path:
    """Where a data set's manifest is."""
    return out / "manifest.parquet"


def _part(out: Path, number: int) -> Path:
    return out / "parts" / f"{number:05d}.parquet"


def _claim(out: Path, plan: Plan) -> None:
    """Create the folder, or check that it was made by the same plan."""
    settings = {**asdict(plan), "rigs": dict(plan.shares()), "assets": plan.assets is not None}
    record = out / "dataset.json"
    try:
        (out / "parts").mkdir(parents=True, exist_ok=True)
        if record.exists():
            if json.loads(record.read_text()) != settings:
                raise UsageError(f"{out}: holds a data set rendered with other settings ({record.name}); choose another folder")
            return
        partial = record.with_suffix(".partial")
        partial.write_text(json.dumps(settings, indent=1))
        partial.replace(record)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written ({error.strerror})") from None


_studios: dict[tuple[RigName, Plan], Studio] = {}


def _studio(plan: Plan, rig: RigName) -> Studio:
    """This worker's studio for a rig, built on first use."""
    key = (rig, Plan(plan.people, size=plan.size, supersample=plan.supersample, shadows=plan.shadows, assets=plan.assets))
    if key not in _studios:
        import cv2
        from openau.synth.assets import Assets
        from openau.synth.rigs import load_rig
        from openau.synth.scene import Studio

        cv2.setNumThreads(1)
        assets = Assets(plan.assets)
        _studios[key] = Studio(load_rig(rig, assets), assets, plan.size, plan.supersample, plan.shadows)
    return _studios[key]


def _render_person(plan: Plan, out: Path, number: int) -> int:
    """Worker: all pictures of one person, then that person's part of the manifest."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from openau.synth.finish import encode

    rig_name = plan.rig_of(number)
    studio = _studio(plan, rig_name)
    rng = np.random.default_rng([plan.seed, number])
    person = sample_person(number, rig_name, rng)
    sitter = studio.person(person, rng)
    folder = out / "images" / f"{number:05d}"
    folder.mkdir(parents=True, exist_ok=True)
    rows: list[dict[str, Any]] = []
    for index in range(plan.images):
        rng = np.random.default_rng([plan.seed, number, 0, index])
        shot = sample_shot(person, studio.rig.recipe, rng)
        picture = studio.shoot(sitter, shot, rng)
        name = f"images/{number:05d}/{index:03d}.jpg"
        (out / name).write_bytes(encode(picture.image, shot.finish))
        pitch, yaw, roll = shot.head
        rows.append(
            {
                "image": name,
                "subject": f"{rig_name}-{number:05d}",
                "clip": f"{number:05d}",
                "frame": index,
                "fold": 1 + number % FOLDS,
                **label_columns(levels_of(shot, picture.lip_gap, studio.rig.recipe)),
                "rig": rig_name,
                "sex": person.sex,
                "age": person.age,
                "tone": person.tone,
                "beard": person.beard,
                "glasses": person.glasses is not None,
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
        )
    part = _part(out, number)
    partial = part.with_suffix(".partial")
    pq.write_table(pa.Table.from_pylist(rows, schema=_schema()), partial)
    partial.replace(part)
    return plan.images


def _schema() -> Any:
    """The manifest's columns; fixed, since a column may be null throughout one person's part."""
    import pyarrow as pa

    from openau.synth.labels import Level
    from openau.synth.parameters import RENDERED_AUS

    labels = label_columns({number: Level(0.0, 0.0) for number in RENDERED_AUS})
    fields = [("image", pa.string()), ("subject", pa.string()), ("clip", pa.string()), ("frame", pa.int64()), ("fold", pa.int64())]
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

    write_manifest(pa.concat_tables(pq.read_table(_part(out, number)) for number in range(plan.people)), manifest_path(out))
