"""A short video of one person whose Action Units come and go, with their intensities in a table beside it."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from openau.errors import OutputError, UsageError
from openau.facs import intensity_column
from openau.synth.assets import Assets
from openau.synth.parameters import Activation, RigName, Shot
from openau.synth.rigs import load_rig
from openau.synth.sampler import expression_of, sample_person, sample_shot
from openau.synth.scene import Studio

EPISODES: tuple[tuple[float, dict[int, float]], ...] = (
    (0.10, {6: 0.8, 12: 0.9, 25: 0.5}),
    (0.30, {1: 0.8, 2: 0.9, 5: 0.7, 26: 0.7}),
    (0.50, {4: 0.9, 7: 0.6}),
    (0.68, {15: 0.8, 17: 0.7, 1: 0.6, 4: 0.5}),
    (0.86, {9: 0.7, 10: 0.7}),
)
"""Where in the clip (0–1) which AUs peak: a smile, surprise, a frown, sadness, disgust."""

SUFFIXES = (".mp4", ".mov", ".mkv")

WIDTH = 0.055
"""Half length of an episode, as a fraction of the clip."""


def activation_at(moment: float) -> Activation:
    """AU activations at a moment of the clip, 0–1: each episode rises and falls smoothly (raised cosine)."""
    levels: dict[int, float] = {}
    for peak, aus in EPISODES:
        distance = abs(moment - peak) / WIDTH
        rise = float(np.clip(1.6 * (0.5 + 0.5 * np.cos(np.pi * min(distance, 1.0))), 0, 1))
        for number, level in aus.items():
            levels[number] = max(levels.get(number, 0.0), level * rise)
    return {(number, side): level for number, level in levels.items() for side in ("L", "R")}


def render_clip(
    out: Path, *, seconds: float, fps: int, rig: RigName, seed: int, size: int, assets: Path | None
) -> Iterator[int]:
    """Render `out` (H.264) and `out` with suffix `.csv` (frame, seconds, intensity 0–5 per AU); yields after each frame.

    Raises:
        UsageError: the size is odd, which the video's format does not allow.
        OutputError: the video or the table cannot be written.
    """
    if size % 2:
        raise UsageError(f"a video's side must be even; {size} is odd")
    if out.suffix.lower() not in SUFFIXES:
        raise UsageError(f"{out}: a clip's name ends in {', '.join(SUFFIXES)}")
    found = Assets(assets)
    studio = Studio(load_rig(rig, found), found, size)
    rng = np.random.default_rng([seed, 0])
    person = replace(sample_person(0, rig, rng), glasses=None)
    sitter = studio.person(person, rng)
    scene = replace(sample_shot(person, studio.rig.recipe, rng), occluder=None, nuisance={}, talking=False, wrinkles={})
    partial = out.with_name(f".{out.stem}.partial{out.suffix}")
    table, partial_table = out.with_suffix(".csv"), out.with_name(f".{out.stem}.partial.csv")
    count = round(seconds * fps)
    numbers = sorted({number for _, aus in EPISODES for number in aus})
    try:
        with av.open(str(partial), "w") as container, partial_table.open("w", newline="") as file:
            stream = container.add_stream("libx264", rate=fps)
            stream.width, stream.height, stream.pix_fmt = size, size, "yuv420p"
            stream.options = {"crf": "24", "preset": "slow"}
            writer = csv.writer(file)
            writer.writerow(["frame", "seconds", *(intensity_column(number) for number in numbers)])
            for index in range(count):
                activation = activation_at(index / max(count - 1, 1))
                picture = studio.shoot(
                    sitter, _frame(scene, person.static, activation, studio, index / fps), np.random.default_rng(seed)
                )
                frame = av.VideoFrame.from_ndarray(picture.image, format="rgb24")
                frame.pts, frame.time_base = index, Fraction(1, fps)
                container.mux(stream.encode(frame))
                levels = [5 * activation.get((number, "L"), 0.0) for number in numbers]
                writer.writerow([index, f"{index / fps:.3f}", *(f"{level:.2f}" for level in levels)])
                yield index
            container.mux(stream.encode(None))
        partial.replace(out)
        partial_table.replace(table)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {(error.strerror or str(error)).lower()}") from None
    finally:
        partial.unlink(missing_ok=True)
        partial_table.unlink(missing_ok=True)


def _frame(scene: Shot, static: Mapping[str, float], activation: Activation, studio: Studio, time: float) -> Shot:
    """The scene at one moment: the AUs, and a head that sways a little."""
    shapes = dict(static)
    for name, weight in expression_of(activation, studio.rig.recipe).items():
        shapes[name] = shapes.get(name, 0.0) + weight
    sway = 2 * np.pi * time
    head = (2.0 * np.sin(sway * 0.21), 7.0 * np.sin(sway * 0.13), 2.5 * np.sin(sway * 0.17))
    return replace(
        scene,
        activation=activation,
        expression=shapes,
        wrinkles={number: 0.4 * level for (number, _), level in activation.items()},
        gaze=(3.0 * np.sin(sway * 0.3), 0.0),
        head=head,
        camera=replace(scene.camera, distance=10.0, framing=3.5, shift=(-0.22, 0.0)),
        finish=replace(
            scene.finish, blur=0.0, noise=0.0, gamma=1.0, contrast=1.0, brightness=0.0, grey=False, resolution=1.0
        ),
    )
