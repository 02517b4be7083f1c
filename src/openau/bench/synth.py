"""What rendering costs: pictures per second by workers, milliseconds of each stage, the price of supersampling and of shadows."""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from threading import BrokenBarrierError
from typing import Any

import numpy as np

from openau.errors import InputError, OpenAUError
from openau.synth.dataset import render_person, studio_of
from openau.synth.finish import encode
from openau.synth.parameters import RigName, Shot
from openau.synth.plan import Plan
from openau.synth.sampler import sample_shot
from openau.synth.scene import Sitter

SAMPLE_PEOPLE = 4
"""People of each rig on whom the stages are timed."""

SAMPLE_SHOTS = 8
"""Pictures of each of them."""

_PATIENCE = 900
"""Seconds within which all workers must have loaded their rigs."""


@dataclass(frozen=True, slots=True)
class Stages:
    """Median milliseconds of one rig's stages, one thread.

    Attributes:
        people, pictures: how many were timed.
        identity: shape, paint and hair of a new person.
        shoot: one picture: deform, render, camera.
        encode: its JPEG.
        write: the file.
        variants: `shoot` with the named parts left out, each timed right after the whole on the same picture.
    """

    people: int
    pictures: int
    identity: float
    shoot: float
    encode: float
    write: float
    variants: Mapping[str, float]

    def per_picture(self, images: int) -> float:
        """Milliseconds of a picture with this many of each person."""
        return self.identity / images + self.shoot + self.encode + self.write

    def price(self, variant: str) -> float:
        """How many times longer a picture takes than without what the variant leaves out."""
        return self.shoot / self.variants[variant]


@dataclass(frozen=True, slots=True)
class Rate:
    """Whole pictures per second, identities, labels, JPEG and files included; loading and compiling are not.

    Attributes:
        setting: what was left out, "" for nothing.
        workers: processes.
        pictures: how many were rendered.
        seconds: from the first to the last.
    """

    setting: str
    workers: int
    pictures: int
    seconds: float

    @property
    def per_second(self) -> float:
        """Pictures per second."""
        return self.pictures / self.seconds


def variants_of(plan: Plan) -> dict[str, Plan]:
    """The plan with parts of its realism left out, by what is left out; only parts the plan has."""
    found = {}
    if plan.supersample > 1:
        found["no supersampling"] = replace(plan, supersample=1)
    if plan.shadows:
        found["no shadows"] = replace(plan, shadows=False)
    if len(found) == 2:
        found["neither"] = replace(plan, supersample=1, shadows=False)
    return found


def rigs_in(plan: Plan) -> dict[RigName, int]:
    """How many of the plan's people each rig renders."""
    return dict(sorted(Counter(plan.rig_of(number) for number in range(plan.people)).items()))


def time_stages(plan: Plan) -> dict[RigName, Stages]:
    """Time the stages of each rig by themselves, in this process.

    Raises:
        WeightsError: a rig is not at hand.
        InputError: the asset folder cannot be read.
    """
    return {rig: _time_rig(plan, rig) for rig in rigs_in(plan)}


def _time_rig(plan: Plan, rig: RigName) -> Stages:
    numbers = [number for number in range(plan.people) if plan.rig_of(number) == rig][:SAMPLE_PEOPLE]
    plans = {"": plan, **variants_of(plan)}
    for setting in plans.values():
        _photograph_once(setting, numbers[0])
    shots_each = min(SAMPLE_SHOTS, plan.images)
    times: dict[str, list[float]] = {name: [] for name in ("identity", "encode", "write", *plans)}
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            # Skins are fitted to a rig once per process, so a person's first sitting is not the usual one.
            _seat(plan, number)
            start = time.perf_counter()
            sitter = _seat(plan, number)
            times["identity"].append(time.perf_counter() - start)
            for index in range(shots_each):
                seed = [plan.seed, number, 0, index]
                shot = sample_shot(sitter.person, studio_of(plan, rig).rig.recipe, np.random.default_rng(seed))
                for name, setting in plans.items():
                    start = time.perf_counter()
                    picture = studio_of(setting, rig).shoot(sitter, shot, np.random.default_rng(seed))
                    times[name].append(time.perf_counter() - start)
                    if setting is plan:
                        _time_file(picture.image, shot, Path(folder) / f"{number}-{index}.jpg", times)
    median = {name: 1000 * float(np.median(values)) for name, values in times.items()}
    return Stages(
        people=len(numbers),
        pictures=len(times[""]),
        identity=median["identity"],
        shoot=median[""],
        encode=median["encode"],
        write=median["write"],
        variants={name: median[name] for name in plans if name},
    )


def _seat(plan: Plan, number: int) -> Sitter:
    """A person of the plan, as `render_person` draws it."""
    person, rng = plan.person(number)
    return studio_of(plan, person.rig).person(person, rng)


def _photograph_once(plan: Plan, number: int) -> None:
    """Load and compile what a picture of this person needs."""
    studio = studio_of(plan, plan.rig_of(number))
    sitter = _seat(plan, number)
    rng = np.random.default_rng(plan.seed)
    studio.shoot(sitter, sample_shot(sitter.person, studio.rig.recipe, rng), rng)


def _time_file(image: Any, shot: Shot, path: Path, times: Mapping[str, list[float]]) -> None:
    start = time.perf_counter()
    content = encode(image, shot.finish)
    encoded = time.perf_counter()
    path.write_bytes(content)
    times["encode"].append(encoded - start)
    times["write"].append(time.perf_counter() - encoded)


def time_workers(plan: Plan, workers: Sequence[int]) -> list[Rate]:
    """Render the plan as `openau synth` does, with each number of workers; with the most of them also without parts of the realism.

    Every worker has loaded its rigs, fitted its skins and compiled its code before the clock starts: in a data set of thousands of
    pictures that start is not seen, in a small one it would be all.

    Raises:
        InputError: the asset folder cannot be read.
        OpenAUError: a worker process was killed.
    """
    most = max(workers)
    context = get_context("spawn")
    barrier, place = context.Barrier(most), context.Value("q", 0)
    try:
        with ProcessPoolExecutor(most, mp_context=context, initializer=_join, initargs=(barrier, place)) as pool:
            list(pool.map(_warm_up, [plan] * most))
            rates = [_rate(pool, plan, "", count, place) for count in workers]
            rates += [_rate(pool, setting, name, most, place) for name, setting in variants_of(plan).items()]
    except BrokenProcessPool:
        raise OpenAUError(
            "a rendering process was killed (out of memory?); try again with fewer people or --workers"
        ) from None
    return rates


def _rate(pool: ProcessPoolExecutor, plan: Plan, setting: str, workers: int, place: Any) -> Rate:
    place.value = 0
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "parts").mkdir()
        start = time.perf_counter()
        pictures = sum(pool.map(_render_in_turn, [plan] * workers, [Path(folder)] * workers))
        return Rate(setting, workers, pictures, time.perf_counter() - start)


_shared: dict[str, Any] = {}


def _join(barrier: Any, place: Any) -> None:
    """Worker: keep what the workers share."""
    _shared["barrier"], _shared["place"] = barrier, place


def _warm_up(plan: Plan) -> None:
    """Worker: load and compile everything; waits for the others, so that each worker does it once."""
    try:
        for number in range(plan.people):
            _photograph_once(plan, number)
        for rig in rigs_in(plan):
            first = next(number for number in range(plan.people) if plan.rig_of(number) == rig)
            for setting in variants_of(plan).values():
                _photograph_once(setting, first)
        _shared["barrier"].wait(_PATIENCE)
    except BrokenBarrierError:
        raise InputError("another rendering process could not start") from None
    except BaseException:
        _shared["barrier"].abort()
        raise


def _render_in_turn(plan: Plan, out: Path) -> int:
    """Worker: render the next person nobody has taken, until all are; returns the number of pictures."""
    pictures = 0
    while True:
        with _shared["place"].get_lock():
            number = int(_shared["place"].value)
            _shared["place"].value = number + 1
        if number >= plan.people:
            return pictures
        pictures += render_person(plan, out, number)
