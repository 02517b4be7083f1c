"""Draw docs/images/aus/AU01.jpg …: one person at rest and with each Action Unit alone, weakly and strongly, on both sides and on one.

Run `openau fetch ict_facekit`, then `python docs/images/make_aus.py`; `OPENAU_SYNTH_ASSETS` may name a folder of skins and hair.
`python docs/images/make_aus.py FOLDER` writes there instead, and FOLDER/sheet.png with all of them.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from openau.facs import au
from openau.synth.assets import Assets
from openau.synth.labels import SIDED_AUS
from openau.synth.parameters import RENDERED_AUS, Activation, Camera, Finish, Light, Person, Shot
from openau.synth.rigs import load_rig
from openau.synth.sampler import expression_of, sample_person
from openau.synth.scene import Sitter, Studio

RIG, SEED, PERSON = "ict", 7, 25
LEVELS = {"weak": 0.4, "strong": 1.0}
"""Activations: FACS B and E."""

SIDE, WIDTH, HEIGHT = 420, 268, 208
"""Pixels: of the rendered square, and of the part of the face that is cut out of it."""

TOP = {"brow": 44, "eye": 44, "cheek": 80, "nose": 80, "mouth": 172, "chin": 172, "jaw": 180}
"""Row of the square at which the cut begins, by the region where the AU shows."""

CAPTION = 20
"""Pixels below each picture."""

FOLDS = {6: 1.8, 9: 2.6}
"""How deep the AU's own wrinkles are at full strength, where that is more than 1: at 1 these two would not be seen at this size."""

QUALITY = 82


def main(folder: Path, with_sheet: bool) -> None:
    """Write a strip per AU and, if asked, the sheet."""
    folder.mkdir(parents=True, exist_ok=True)
    assets = Assets()
    studio = Studio(load_rig(RIG, assets), assets, SIDE)
    sitter = sit(studio)
    strips = {}
    for number in RENDERED_AUS:
        strips[au(number).column] = strip(studio, sitter, number, strengths(number))
        if number in SIDED_AUS:
            strips[f"{au(number).column}_sides"] = strip(studio, sitter, number, sides(number))
    for name, picture in strips.items():
        picture.save(folder / f"{name}.jpg", quality=QUALITY, optimize=True)
    if with_sheet:
        sheet(list(strips.values())).save(folder / "sheet.png")


def sit(studio: Studio) -> Sitter:
    """The person of all pictures: no glasses, no furrows, and the resting face that people have on average."""
    rng = np.random.default_rng([SEED, PERSON])
    person = sample_person(PERSON, RIG, rng)
    return studio.person(replace(person, static=resting(person), furrows={}, glasses=None), rng)


def resting(person: Person) -> dict[str, float]:
    """The person's own resting face made the same on both sides and brought half way to the rig's: a face that shows nothing."""
    stem = {name: name.removesuffix("_L").removesuffix("_R") for name in person.static}
    to_one_side = ("jawLeft", "jawRight", "mouthLeft", "mouthRight")
    halves: dict[str, list[float]] = {}
    for name, weight in person.static.items():
        halves.setdefault(stem[name], []).append(0.5 * weight)
    return {name: float(np.mean(halves[stem[name]])) for name in person.static if name not in to_one_side}


def strengths(number: int) -> dict[str, Activation]:
    """At rest, weak, strong; the same on both sides."""
    return {"at rest": {}} | {name: {(number, "L"): level, (number, "R"): level} for name, level in LEVELS.items()}


def sides(number: int) -> dict[str, Activation]:
    """The subject's right and left alone, in the order in which the picture shows them."""
    return {"right only": {(number, "R"): 1.0}, "left only": {(number, "L"): 1.0}}


def strip(studio: Studio, sitter: Sitter, number: int, panels: Mapping[str, Activation]) -> Image.Image:
    """The part of the face where the AU shows, once per panel, with the panel's name below."""
    picture = Image.new("RGB", (len(panels) * WIDTH, HEIGHT + CAPTION), "white")
    pen = ImageDraw.Draw(picture)
    for column, (name, activation) in enumerate(panels.items()):
        image = face(studio, sitter, activation)[TOP[au(number).region] :][:HEIGHT, (SIDE - WIDTH) // 2 :][:, :WIDTH]
        picture.paste(Image.fromarray(image), (column * WIDTH, 0))
        pen.text((column * WIDTH + WIDTH // 2, HEIGHT + 3), name, "black", ImageFont.load_default(14), anchor="ma")
    return picture


def face(studio: Studio, sitter: Sitter, activation: Activation) -> npt.NDArray[np.uint8]:
    """(SIDE, SIDE, 3) RGB: the person from the front, lit from the upper left, with these AUs."""
    shapes = dict(sitter.person.static)
    for name, weight in expression_of(activation, studio.rig.recipe).items():
        shapes[name] = shapes.get(name, 0.0) + weight
    shot = Shot(
        activation=activation,
        expression=shapes,
        wrinkles={number: FOLDS.get(number, 1.0) * level for (number, _), level in activation.items()} if len(activation) == 2 else {},
        gaze=(0.0, 0.0),
        head=(0.0, 0.0, 0.0),
        camera=Camera(distance=12.0, framing=2.05, shift=(0.0, 0.0)),
        lights=(
            Light((-0.45, 0.6, 0.75), (1.45, 1.4, 1.35), True),
            Light((0.8, 0.1, 0.6), (0.5, 0.52, 0.56), False),
        ),
        ambient=((0.5, 0.5, 0.52), (0.3, 0.28, 0.27)),
        background=5,
        occluder=None,
        finish=Finish(
            blur=0.0, noise=0.0, gamma=1.0, contrast=1.0, brightness=6.0, colour=(1.0, 1.0, 1.0),
            grey=False, resolution=1.0, quality=95,
        ),
        talking=False,
    )  # fmt: skip
    return studio.shoot(sitter, shot, np.random.default_rng(SEED)).image


def sheet(strips: Sequence[Image.Image]) -> Image.Image:
    """All strips, one below the other in three columns."""
    wide, high = max(strip.width for strip in strips), strips[0].height
    rows = -(-len(strips) // 3)
    picture = Image.new("RGB", (3 * wide, rows * high), "white")
    for index, one in enumerate(strips):
        picture.paste(one, ((index // rows) * wide, (index % rows) * high))
    return picture


if __name__ == "__main__":
    given = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    main(given or Path(__file__).parent / "aus", with_sheet=given is not None)
