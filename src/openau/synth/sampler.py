"""Draws people and pictures at random.

Two rules keep a *face shape* from being an AU. Every person carries unlabelled static offsets of brows, lids, mouth corners and lips,
and static furrows; and the means of those offsets bring the rigs' neutral faces to where neutral faces in photographs are (measured with
Face Mesh, `openau synth stats`): brows lower and closer together, lids heavier than the rigs'.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np

from openau.synth import expressions
from openau.synth.parameters import (
    Activation,
    BrowStyle,
    Camera,
    Finish,
    Glasses,
    Light,
    Occluder,
    Person,
    RigName,
    Sex,
    Shot,
    Triple,
)

Recipe = Callable[[int], Mapping[str, float]]
"""AU number → shape weights at full intensity (`Rig.recipe`)."""

NEUTRAL: Mapping[RigName, Mapping[str, tuple[float, float]]] = {
    "ict": {
        "browDown": (1.1, 0.45), "adduct": (0.0, 0.3), "browInnerUp": (-0.1, 0.3), "browOuterUp": (-0.1, 0.3),
        "eyeBlink": (0.2, 0.12), "eyeWide": (0.0, 0.15), "eyeSquint": (0.22, 0.22), "cheekSquint": (0.04, 0.12),
        "mouthSmile": (0.0, 0.10), "mouthFrown": (0.06, 0.16), "mouthPress": (0.0, 0.12), "noseSneer": (0.02, 0.08),
        "mouthUpperUp": (0.0, 0.06), "mouthLowerDown": (0.0, 0.08), "mouthDimple": (0.0, 0.12), "mouthStretch": (0.0, 0.08),
        "mouthRollUpper": (0.0, 0.2), "mouthRollLower": (0.0, 0.2), "mouthShrugLower": (0.08, 0.12), "mouthShrugUpper": (0.0, 0.08),
        "mouthPucker": (0.0, 0.10), "mouthFunnel": (0.0, 0.06), "jawForward": (0.0, 0.3), "jawOpen": (0.0, 0.02),
    },
    "anny": {
        "browDown": (0.3, 0.3), "browInnerUp": (0.0, 0.25), "browOuterUp": (0.0, 0.25),
        "eyeBlink": (0.1, 0.10), "eyeWide": (0.0, 0.15), "eyeSquint": (0.1, 0.2), "cheekSquint": (0.04, 0.12),
        "mouthSmile": (0.0, 0.08), "mouthFrown": (0.04, 0.14), "mouthPress": (0.0, 0.08), "noseSneer": (0.02, 0.08),
        "mouthUpperUp": (0.0, 0.08), "mouthLowerDown": (0.0, 0.10), "mouthDimple": (0.0, 0.12), "mouthStretch": (0.0, 0.08),
        "mouthRollUpper": (0.0, 0.15), "mouthRollLower": (0.0, 0.15), "mouthShrugLower": (0.0, 0.10), "mouthShrugUpper": (0.0, 0.08),
        "mouthPucker": (0.0, 0.10), "mouthFunnel": (0.0, 0.06), "jawForward": (0.0, 0.3), "jawOpen": (0.0, 0.02),
    },
}  # fmt: skip
"""Rig → shape → (mean, standard deviation) of the static offset over people, in weights of that rig's shape.
Shapes with a left and a right half get both, slightly unequal."""

_UNSIDED = {
    "mouthRollUpper", "mouthRollLower", "mouthShrugLower", "mouthShrugUpper", "mouthPucker", "mouthFunnel", "jawForward", "jawOpen",
}  # fmt: skip

PARTED_LIPS_SHARE = 0.3
"""Share of people whose neutral lips do not quite close."""

WRINKLES_SHARE = 0.55
"""Share of pictures with AU wrinkles; without them a network cannot rely on painted folds."""


def sample_person(number: int, rig: RigName, rng: np.random.Generator) -> Person:
    """Draw an identity."""
    sex: Sex = "f" if rng.random() < 0.5 else "m"
    age = float(rng.beta(1.2, 1.5))
    tone = float(rng.uniform(0, 1))
    old = age > 0.72
    return Person(
        number=number,
        rig=rig,
        sex=sex,
        age=age,
        tone=tone,
        ancestry=_ancestry(tone, rng),
        brow=BrowStyle(
            height=float(rng.normal(-0.013, 0.008)),
            tilt=float(rng.normal(0, 0.007)),
            gap=float(rng.normal(-0.005, 0.007)),
            thickness=float(np.exp(rng.uniform(np.log(0.006), np.log(0.021))) * (1.2 if sex == "m" else 1.0)),
            density=float(rng.uniform(0.5, 1.3)),
            arch=float(rng.normal(0.004, 0.006)),
        ),
        hair=None if rng.random() < (0.2 if sex == "m" else 0.06) else int(rng.integers(0, 1000)),
        hair_colour=_hair_colour(tone, old, rng),
        eye_colour=_eye_colour(tone, rng),
        pupil=float(rng.uniform(0.28, 0.5)),
        beard=float(rng.choice([0, 0.12, 0.35, 0.75], p=[0.45, 0.28, 0.15, 0.12])) if sex == "m" else 0.0,
        lipstick=float(rng.uniform(0.2, 0.9)) if sex == "f" and rng.random() < 0.4 else 0.0,
        lip_colour=_triple(rng.uniform([0.5, 0.15, 0.2], [0.75, 0.32, 0.38])),
        lashes=float(rng.uniform(0, 1) * (1 if sex == "f" else 0.5)),
        freckles=float(rng.uniform(0, 1)) if tone < 0.5 and rng.random() < 0.3 else 0.0,
        static=_static_offsets(rig, rng),
        furrows=_furrows(age, rng),
        wrinkling=float(np.clip(rng.uniform(0.25, 0.7) + 0.4 * age, 0, 1)),
        oiliness=float(rng.uniform(0.1, 0.7)),
        glasses=_glasses(rng) if rng.random() < 0.12 else None,
    )


def sample_shot(person: Person, recipe: Recipe, rng: np.random.Generator) -> Shot:
    """Draw one picture of a person."""
    levels, talking = expressions.sample_levels(rng)
    activation = expressions.split_sides(levels, rng)
    nuisance = expressions.passing_shapes(rng)
    if talking:
        nuisance = _add(nuisance, expressions.talking_mouth(rng))
    trembling = {name: weight + float(rng.normal(0, 0.03)) for name, weight in person.static.items()}
    lights, ambient = _lights(rng)
    return Shot(
        activation=activation,
        expression=_add(expression_of(activation, recipe, rng), nuisance, trembling),
        wrinkles=_wrinkles(person, activation, rng),
        gaze=(float(rng.normal(0, 10)), float(rng.normal(0, 5))),
        head=(float(rng.normal(0, 9)), float(np.clip(rng.normal(0, 14), -42, 42)), float(rng.normal(0, 6))),
        camera=_camera(rng),
        lights=lights,
        ambient=ambient,
        background=int(rng.integers(0, 2**31)),
        occluder=_occluder(rng) if rng.random() < 0.05 else None,
        finish=sample_finish(rng),
        talking=talking,
        nuisance=nuisance,
    )


def expression_of(activation: Activation, recipe: Recipe, rng: np.random.Generator | None = None) -> dict[str, float]:
    """Shape weights of AU activations; with `rng`, each AU's parts vary a little, as no two people do it alike.

    A shape without sides takes the mean of the two activations.
    """
    shapes: dict[str, float] = {}
    for number in sorted({au for au, _ in activation}):
        left, right = activation.get((number, "L"), 0.0), activation.get((number, "R"), 0.0)
        for name, weight in recipe(number).items():
            level = left if name.endswith("_L") else right if name.endswith("_R") else (left + right) / 2
            shapes[name] = shapes.get(name, 0.0) + weight * level
    if rng is not None:
        varied = {name.removesuffix("_L").removesuffix("_R"): 1.0 for name in shapes}
        factors = {stem: float(rng.uniform(0.8, 1.2)) for stem in sorted(varied)}
        shapes = {name: weight * factors[name.removesuffix("_L").removesuffix("_R")] for name, weight in shapes.items()}
    return shapes


def sample_finish(rng: np.random.Generator) -> Finish:
    """Draw a mild finish: training degrades its copies further, so the files stay clean."""
    reduced = rng.random() < 0.15
    return Finish(
        blur=float(rng.uniform(0.2, 0.8)) if rng.random() < 0.4 else 0.0,
        noise=float(rng.uniform(0, 3)),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        contrast=float(rng.uniform(0.85, 1.15)),
        brightness=float(rng.normal(0, 7)),
        colour=_triple(rng.uniform(0.94, 1.06, 3)),
        grey=bool(rng.random() < 0.08),
        resolution=float(rng.uniform(0.5, 0.9)) if reduced else 1.0,
        quality=int(rng.integers(80, 96)),
    )


def _triple(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Triple:
    first, second, third = (float(value) for value in values)
    return first, second, third


def _add(*tables: Mapping[str, float]) -> dict[str, float]:
    total: dict[str, float] = {}
    for table in tables:
        for name, weight in table.items():
            total[name] = total.get(name, 0.0) + weight
    return total


def _ancestry(tone: float, rng: np.random.Generator) -> Triple:
    """Weights of the caucasian, african and asian shapes; only loosely tied to skin tone, so that shape never tells tone."""
    prior = np.array([1.2 - tone, 0.3 + tone, 0.9])
    main = int(rng.choice(3, p=prior / prior.sum()))
    weights = rng.dirichlet([0.35, 0.35, 0.35])
    weights = 0.35 * weights
    weights[main] += 0.65
    return _triple(weights / weights.sum())


def _hair_colour(tone: float, old: bool, rng: np.random.Generator) -> Triple:
    palette = np.array([
        [0.09, 0.08, 0.07], [0.19, 0.13, 0.10], [0.36, 0.26, 0.16], [0.59, 0.46, 0.30], [0.43, 0.24, 0.14], [0.59, 0.59, 0.58],
    ])  # fmt: skip
    chances = [0.15, 0.25, 0.25, 0.17, 0.08, 0.10] if tone < 0.35 else [0.75, 0.2, 0.03, 0.0, 0.0, 0.02]
    shade, warmth, _ = rng.uniform(0.85, 1.15, 3)
    tint = 0.3 * (warmth - 1)
    colour = palette[int(rng.choice(len(palette), p=chances))] * shade * np.array([1 + tint, 1, 1 - tint])
    if old:
        grey = rng.uniform(0.3, 0.9)
        colour = (1 - grey) * colour + grey * np.array([0.65, 0.64, 0.62])
    return _triple(np.clip(colour, 0, 1))


def _eye_colour(tone: float, rng: np.random.Generator) -> Triple:
    palette = np.array([[70, 45, 25], [95, 65, 35], [60, 90, 130], [85, 110, 85], [110, 125, 135]]) / 255
    count = len(palette) if tone < 0.4 else 2
    return _triple(np.clip(palette[int(rng.integers(0, count))] * rng.uniform(0.85, 1.15, 3), 0, 1))


def _static_offsets(rig: RigName, rng: np.random.Generator) -> dict[str, float]:
    offsets: dict[str, float] = {}
    for name, (mean, spread) in NEUTRAL[rig].items():
        level = float(rng.normal(mean, spread))
        if name in _UNSIDED:
            offsets[name] = abs(level) if name == "jawOpen" else level
            continue
        tilt = rng.normal(0, 0.2)
        for side, sign in (("L", 1), ("R", -1)):
            offsets[f"{name}_{side}"] = float(level * (1 + sign * tilt) + rng.normal(0, 0.04))
    if rng.random() < PARTED_LIPS_SHARE:
        offsets["jawOpen"] += float(rng.uniform(0, 0.08))
        for side in "LR":
            offsets[f"mouthLowerDown_{side}"] += float(rng.uniform(0, 0.3))
            offsets[f"mouthUpperUp_{side}"] += float(rng.uniform(0, 0.15))
    for name in ("jawLeft", "jawRight", "mouthLeft", "mouthRight"):
        if rng.random() < 0.2:
            offsets[name] = float(rng.uniform(0, 0.25))
    return offsets


def _furrows(age: float, rng: np.random.Generator) -> dict[int, float]:
    """Static wrinkles: with age, and in four of ten places regardless of it."""
    furrows: dict[int, float] = {}
    for number in (1, 2, 4, 6, 9, 12, 14, 15, 20):
        level = max(0.0, age - 0.3) * rng.uniform(0.1, 0.9)
        if rng.random() < 0.4:
            level += rng.uniform(0, 0.8)
        furrows[number] = float(np.clip(level, 0, 1))
    return furrows


def _wrinkles(person: Person, activation: Activation, rng: np.random.Generator) -> dict[int, float]:
    if rng.random() > WRINKLES_SHARE:
        return {}
    strength = person.wrinkling * rng.uniform(0.15, 1.0)
    levels: dict[int, float] = {}
    for (number, _), level in activation.items():
        levels[number] = max(levels.get(number, 0.0), float(level * strength))
    return levels


def _glasses(rng: np.random.Generator) -> Glasses:
    dark = rng.random() < 0.7
    return Glasses(
        width=float(rng.uniform(0.36, 0.44)),
        height=float(rng.uniform(0.22, 0.36)),
        thickness=float(rng.uniform(0.015, 0.07)),
        drop=float(rng.uniform(0.0, 0.1)),
        colour=_triple(rng.uniform(0, 0.25 if dark else 0.8, 3)),
        tint=float(rng.uniform(0, 0.25)) if rng.random() < 0.3 else 0.0,
        squareness=float(rng.uniform(0, 1)),
    )


def _camera(rng: np.random.Generator) -> Camera:
    wide = rng.random() < 0.12
    return Camera(
        distance=float(np.exp(rng.uniform(np.log(4.5), np.log(16)))),
        framing=float(rng.uniform(2.5, 3.6) if wide else rng.uniform(1.7, 2.5)),
        shift=(float(rng.normal(0, 0.025)), float(rng.normal(0, 0.025))),
    )


def _lights(rng: np.random.Generator) -> tuple[tuple[Light, ...], tuple[Triple, Triple]]:
    hard = rng.random() < 0.3
    strength, warmth = rng.uniform(0.35, 1.1), rng.uniform(0, 1)
    colour = np.array([1.0, 0.86 + 0.14 * warmth, 0.68 + 0.34 * warmth])
    key = Light(
        (float(rng.normal(0, 1.2 if hard else 0.7)), float(rng.uniform(-0.1, 1.3)), float(rng.uniform(0.15, 1))),
        _triple(colour * strength * (1.5 if hard else 1)),
        casts_shadow=True,
    )
    fill = Light(
        (float(rng.normal(0, 1)), float(rng.uniform(-0.2, 0.6)), 0.5),
        _triple(colour[::-1] * rng.uniform(0.05, 0.15 if hard else 0.5)),
        casts_shadow=False,
    )
    rim = Light((float(rng.normal(0, 1)), 0.6, -0.6), _triple(np.ones(3) * rng.uniform(0, 0.5)), casts_shadow=False)
    level = rng.uniform(0.05, 0.15) if hard else rng.uniform(0.12, 0.45)
    above = _triple(level * rng.uniform(0.9, 1.1, 3))
    below = _triple(np.ones(3) * level * 0.55)
    return (key, fill, rim), (above, below)


def _occluder(rng: np.random.Generator) -> Occluder:
    return Occluder(
        kind="blob" if rng.random() < 0.6 else "bar",
        centre=(float(rng.uniform(0.2, 0.8)), float(rng.uniform(0.35, 0.95))),
        size=float(rng.uniform(0.06, 0.18)),
        angle=float(rng.uniform(0, 180)),
        colour=_triple(rng.uniform(0.05, 0.8, 3)),
    )
