"""A rig made of three ellipsoids, so that the studio can be tested without any download."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from openau.synth.parameters import BrowStyle, Camera, Finish, Light, Person, Shot
from openau.synth.rig import Body, Part

HALF_AXES = np.array([7.5, 11.0, 9.0])
COLUMNS, ROWS = 72, 56

_JAW = [(-85 + 170 * i / 16, -8 - 52 * np.sin(np.pi * i / 16) ** 0.8) for i in range(17)]
_BROWS = [(a, 24 + 3 * np.sin(np.pi * (abs(a) - 8) / 32)) for a in (-40, -32, -24, -16, -8, 8, 16, 24, 32, 40)]
_NOSE = [(0, 14), (0, 8), (0, 2), (0, -4), (-10, -8), (-5, -9), (0, -10), (5, -9), (10, -8)]
_EYES = [
    (-30, 12),
    (-25, 15),
    (-19, 15),
    (-14, 12),
    (-19, 9),
    (-25, 9),
    (14, 12),
    (19, 15),
    (25, 15),
    (30, 12),
    (25, 9),
    (19, 9),
]
_OUTER_LIP = [
    (-18, -26),
    (-12, -22),
    (-6, -20),
    (0, -21),
    (6, -20),
    (12, -22),
    (18, -26),
    (12, -31),
    (6, -33),
    (0, -34),
    (-6, -33),
    (-12, -31),
]
_INNER_LIP = [(-15, -26), (-6, -24), (0, -24), (6, -24), (15, -26), (6, -29), (0, -29), (-6, -29)]
ANGLES = np.radians(np.array([*_JAW, *_BROWS, *_NOSE, *_EYES, *_OUTER_LIP, *_INNER_LIP]))
"""Azimuth (+ to the subject's left) and elevation of the 68 landmarks."""


def ellipsoid(columns: int, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit sphere: vertices, triangles (counter-clockwise from outside), and uv per corner (u = azimuth, v = elevation)."""
    azimuth, elevation = np.linspace(-np.pi, np.pi, columns + 1), np.linspace(-np.pi / 2, np.pi / 2, rows + 1)
    a, e = (grid.ravel() for grid in np.meshgrid(azimuth, elevation))
    vertices = np.stack([np.cos(e) * np.sin(a), np.sin(e), np.cos(e) * np.cos(a)], 1)
    uv = np.stack([0.5 + a / (2 * np.pi), 0.5 + e / np.pi], 1)
    corner = (np.arange(rows)[:, None] * (columns + 1) + np.arange(columns)[None]).ravel()
    triangles = np.concatenate(
        [
            np.stack([corner, corner + 1, corner + columns + 2], 1),
            np.stack([corner, corner + columns + 2, corner + columns + 1], 1),
        ]
    )
    return vertices.astype(np.float32), triangles.astype(np.int32), uv[triangles].astype(np.float32)


class TinyRig:
    """An egg with two eyeballs; `jawOpen` lowers everything under the lips' middle, other shapes do nothing."""

    name = "ict"
    shapes = ("jawOpen", "eyeBlink_L", "eyeBlink_R")

    def __init__(self) -> None:
        sphere, triangles, uv = ellipsoid(COLUMNS, ROWS)
        self.neutral = (sphere * HALF_AXES).astype(np.float32)
        ball, ball_triangles, _ = ellipsoid(24, 16)
        axis = np.arccos(np.clip(ball[:, 2], -1, 1)) / np.pi
        around = np.arctan2(ball[:, 1], ball[:, 0])
        polar = (0.5 + 0.5 * axis[:, None] * np.stack([np.cos(around), np.sin(around)], 1)).astype(np.float32)
        parts = [Part("skin", triangles, uv)]
        self._balls = {}
        vertices = [self.neutral]
        for side, sign in (("L", 1), ("R", -1)):
            first = sum(len(v) for v in vertices)
            centre = np.array([sign * 3.2, 2.3, 6.9], np.float32)
            vertices.append((1.25 * ball + centre).astype(np.float32))
            self._balls[side] = (slice(first, first + len(ball)), centre)
            parts.append(Part(f"eye_{side}", ball_triangles + first, polar[ball_triangles]))
        self.neutral = np.concatenate(vertices)
        self.parts = tuple(parts)
        target = np.stack(
            [
                np.cos(ANGLES[:, 1]) * np.sin(ANGLES[:, 0]),
                np.sin(ANGLES[:, 1]),
                np.cos(ANGLES[:, 1]) * np.cos(ANGLES[:, 0]),
            ],
            1,
        )
        self.landmarks = np.array([int(np.argmin(((sphere - t) ** 2).sum(1))) for t in target], np.int32)
        self.landmark_uv = np.stack([0.5 + ANGLES[:, 0] / (2 * np.pi), 0.5 + ANGLES[:, 1] / np.pi], 1).astype(
            np.float32
        )

    def recipe(self, au: int) -> Mapping[str, float]:
        return {"jawOpen": 1.0} if au in (26, 27) else {}

    def body(self, person: Person, rng: np.random.Generator) -> Body:
        return Body(self.neutral * np.float32(1 + 0.01 * rng.standard_normal()))

    def deform(self, body: Body, weights: Mapping[str, float]) -> np.ndarray:
        vertices = body.vertices.copy()
        lip = vertices[self.landmarks[[62, 66]], 1].mean()
        for name, weight in weights.items():
            if name not in self.shapes:
                raise KeyError(name)
            if name == "jawOpen":
                vertices[(vertices[:, 1] < lip) & (vertices[:, 2] > 0), 1] -= np.float32(weight)
        return vertices

    def eyes(self, vertices: np.ndarray) -> tuple[tuple[np.ndarray, float], tuple[np.ndarray, float]]:
        left, right = (self._balls[side] for side in "LR")
        return tuple((vertices[ids].mean(0), 1.25) for ids, _ in (left, right))  # type: ignore[return-value]

    def turn_eyes(self, vertices: np.ndarray, yaw: float, pitch: float) -> np.ndarray:
        from openau.synth.scene import head_rotation

        turned = vertices.copy()
        for ids, _ in self._balls.values():
            centre = vertices[ids].mean(0)
            turned[ids] = (vertices[ids] - centre) @ head_rotation(pitch, yaw, 0).T + centre
        return turned


def person(**changes: object) -> Person:
    """Someone plain: light skin, no hair, no beard."""
    settings: dict[str, object] = {
        "number": 0, "rig": "ict", "sex": "m", "age": 0.3, "tone": 0.2, "ancestry": (1.0, 0.0, 0.0),
        "brow": BrowStyle(0.0, 0.0, 0.0, 0.012, 1.0, 0.0), "hair": None, "hair_colour": (0.15, 0.1, 0.08), "eye_colour": (0.3, 0.2, 0.1),
        "pupil": 0.4, "beard": 0.0, "lipstick": 0.0, "lip_colour": (0.6, 0.2, 0.25), "lashes": 0.5, "freckles": 0.0, "static": {},
        "furrows": {}, "wrinkling": 0.5, "oiliness": 0.3, "glasses": None,
    }  # fmt: skip
    return Person(**(settings | changes))  # type: ignore[arg-type]


PLAIN_FINISH = Finish(0.0, 0.0, 1.0, 1.0, 0.0, (1.0, 1.0, 1.0), False, 1.0, 95)


def shot(**changes: object) -> Shot:
    """A plain frontal picture, lit from the front."""
    settings: dict[str, object] = {
        "activation": {}, "expression": {}, "wrinkles": {}, "gaze": (0.0, 0.0), "head": (0.0, 0.0, 0.0),
        "camera": Camera(8.0, 2.4, (0.0, 0.0)), "lights": (Light((0.0, 0.3, 1.0), (0.5, 0.5, 0.5), False),),
        "ambient": ((0.2, 0.2, 0.2), (0.15, 0.15, 0.15)), "background": 5, "occluder": None, "finish": PLAIN_FINISH, "talking": False,
    }  # fmt: skip
    return Shot(**(settings | changes))  # type: ignore[arg-type]
