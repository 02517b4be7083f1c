"""A software rasteriser for heads: triangles, textures, bumps, lights and one soft shadow in, an 8-bit picture out.

Three passes over the draws. Visibility: every pixel has a few depth samples (four on a rotated grid by default), each remembers the
triangle it sees; cards are alpha-tested with a different threshold per sample, so that hair ends fade. Shading: once per pixel and
visible surface, at the first sample that sees it; textures are read from the pyramid level that fits, so one reading per pixel is
enough. Resolve: exposure, tone curve, background, sRGB. The light that casts a shadow gets a depth map of its own.

Everything runs single-threaded in a fixed order, so equal inputs give equal bytes. Units are centimetres; the camera looks along -z.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import cv2
import numba as nb
import numpy as np
import numpy.typing as npt

from openau.synth.fields import resized, to_bytes
from openau.synth.parameters import Light, Triple

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int32]
Bytes = npt.NDArray[np.uint8]

SHADOW_MAP = 256
"""Side of the shadow-casting light's depth map."""

_NEAR = 1.0
_SHADOW_MARGIN = 0.16
"""How far (cm) a surface must lie behind the shadow map before it is in shadow."""

_KEY_EXPOSURE = 0.20
"""Mean linear luminance of the exposed surfaces that the automatic exposure aims at."""

_TO_LINEAR: Floats = np.where(
    np.arange(1024) / 1023 <= 0.04045,
    np.arange(1024) / 1023 / 12.92,
    ((np.arange(1024) / 1023 + 0.055) / 1.055) ** 2.4,
).astype(np.float32)
_TO_SRGB: Floats = np.where(
    np.arange(4096) / 4095 <= 0.0031308,
    np.arange(4096) / 4095 * 12.92,
    1.055 * np.maximum(np.arange(4096) / 4095, 1e-9) ** (1 / 2.4) - 0.055,
).astype(np.float32)


@dataclass(frozen=True, slots=True, eq=False)
class Texture:
    """An image and its reductions by two, in one array.

    Attributes:
        texels: (N, 4) uint8, sRGB and alpha, level after level, row after row from the top.
        levels: (L, 3) int32, offset, height and width of each level.
    """

    texels: Bytes
    levels: Ints

    @classmethod
    def from_image(cls, image: Bytes) -> Texture:
        """Build the pyramid of an (H, W, 3) or (H, W, 4) uint8 image; colours of the reductions are weighted by alpha."""
        if image.shape[2] == 3:
            image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        levels, offsets, offset = [np.ascontiguousarray(image)], [], 0
        opaque = bool((image[..., 3] == 255).all())
        while min(levels[-1].shape[:2]) >= 8:
            levels.append(_halve(levels[-1], opaque))
        for level in levels:
            offsets.append((offset, level.shape[0], level.shape[1]))
            offset += level.shape[0] * level.shape[1]
        return cls(np.concatenate([level.reshape(-1, 4) for level in levels]), np.array(offsets, np.int32))

    @classmethod
    def plain(cls, colour: Triple) -> Texture:
        """A texture of one sRGB colour (0–1)."""
        return cls.from_image(np.full((2, 2, 3), np.round(np.array(colour) * 255), np.uint8))


def _halve(image: Bytes, opaque: bool) -> Bytes:
    size = (max(image.shape[1] // 2, 1), max(image.shape[0] // 2, 1))
    if opaque:
        return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
    alpha = image[..., 3:].astype(np.float32)
    small = cv2.resize(np.dstack([image[..., :3] * alpha, alpha]), size, interpolation=cv2.INTER_AREA)
    return to_bytes(np.dstack([small[..., :3] / np.maximum(small[..., 3:], 1e-3), small[..., 3:]]))


@dataclass(frozen=True, slots=True, eq=False)
class Relief:
    """A height map (cm) and its reductions, laid out like a `Texture`: heights (N,) float32, levels (L, 3) int32."""

    heights: Floats
    levels: Ints

    @classmethod
    def from_heights(cls, heights: Floats) -> Relief:
        """Build the pyramid of a square (B, B) float32 height map."""
        levels, offsets, offset = [np.ascontiguousarray(heights, np.float32)], [], 0
        while min(levels[-1].shape) >= 64:
            levels.append(resized(levels[-1], levels[-1].shape[0] // 2))
        for level in levels:
            offsets.append((offset, level.shape[0], level.shape[1]))
            offset += level.size
        return cls(np.concatenate([level.ravel() for level in levels]), np.array(offsets, np.int32))


_FLAT = Relief(np.zeros(1, np.float32), np.zeros((0, 3), np.int32))
_WHITE = Texture.plain((1, 1, 1))


@dataclass(frozen=True, slots=True)
class Surface:
    """How a material meets light.

    Attributes:
        tint: factors on the texture's linear colour.
        specular: strength of highlights, 1 = a clean dielectric.
        gloss: Blinn-Phong exponent of the highlights.
        wrap: how far light creeps past the terminator, 0–1.
        scatter: 0–1, how much of that happens in red first, and how much red ignores the bumps: light that went through skin.
        two_sided: cards; both faces are seen.
        alpha_tested: cards; the texture's alpha decides which samples are covered.
        weighs_exposure: whether the automatic exposure measures this surface.
    """

    tint: Triple = (1.0, 1.0, 1.0)
    specular: float = 0.5
    gloss: float = 20.0
    wrap: float = 0.1
    scatter: float = 0.0
    two_sided: bool = False
    alpha_tested: bool = False
    weighs_exposure: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Draw:
    """A piece of geometry to be drawn.

    Shapes: positions (V, 3) float32 cm, camera-independent (draws may share the array: it is projected once); triangles (T, 3) int32,
    counter-clockwise seen from outside; uv (T, 3, 2) float32, u right, v up; normals (V, 3) float32, computed when None; occlusion
    (V,) float32, 0 dark to 1 open, all open when None.
    """

    positions: Floats
    triangles: Ints
    uv: Floats
    texture: Texture = field(default_factory=lambda: _WHITE)
    surface: Surface = field(default_factory=Surface)
    normals: Floats | None = None
    occlusion: Floats | None = None
    relief: Relief | None = None
    casts_shadow: bool = True


@dataclass(frozen=True, slots=True)
class View:
    """A camera on the +z side of a point, looking along -z.

    Attributes:
        centre: the point in the middle of the picture, cm.
        distance: from the camera to that point, cm.
        width: of the plane through that point that fills the picture, cm.
    """

    centre: Triple
    distance: float
    width: float

    def project(self, points: Floats, size: int) -> Floats:
        """Pixel positions (N, 2) of points (N, 3) in a picture of `size` pixels; (0, 0) is the first pixel's outer corner."""
        local = np.asarray(points, np.float64) - np.asarray(self.centre)
        scale = size * self.distance / self.width / (self.distance - local[:, 2])
        return np.stack([size / 2 + local[:, 0] * scale, size / 2 - local[:, 1] * scale], 1).astype(np.float32)


def vertex_normals(positions: Floats, *triangles: Ints) -> Floats:
    """Unit normals (V, 3) of a mesh, smooth over all the given triangle lists; zero where no triangle touches a vertex."""
    normals = np.zeros_like(positions)
    for part in triangles:
        _add_normals(positions, part, normals)
    _normalise(normals)
    return normals


def render(
    draws: Sequence[Draw],
    view: View,
    lights: Sequence[Light],
    ambient: tuple[Triple, Triple],
    background: Bytes,
    *,
    supersample: int = 2,
    shadows: bool = True,
    auto_exposure: float = 0.0,
    toe: float = 0.0,
) -> Bytes:
    """Draw a scene over a background.

    Args:
        draws: what to draw; the order does not matter (equal depths go to the first).
        view: the camera.
        lights: at infinity; the first that casts a shadow gets a shadow map.
        ambient: linear colour of the light from above and from below.
        background: (S, S, 3) uint8 RGB; its side is the picture's.
        supersample: samples per pixel along each side; 2 puts its four on a rotated grid.
        shadows: False leaves the shadow map out.
        auto_exposure: 0 keeps the lights' own brightness, 1 brings the measured surfaces to one brightness, as a camera would.
        toe: linear brightness below which shadows are deepened, as film does; 0 for none.

    Returns:
        (S, S, 3) uint8 RGB.
    """
    size = background.shape[0]
    samples = _sample_grid(supersample)
    projected = _project_all(draws, view, size)
    depth = np.zeros((size, size, len(samples)), np.float32)
    owner = np.full((size, size, len(samples)), -1, np.int32)
    first = 0
    for draw, geometry in zip(draws, projected, strict=True):
        _see(
            geometry.screen, draw.triangles, draw.uv, draw.texture.texels, draw.texture.levels,
            draw.surface.two_sided, draw.surface.alpha_tested, first, samples, depth, owner,
        )  # fmt: skip
        first += len(draw.triangles)

    directions, colours, caster = _light_arrays(lights, shadows)
    shadow_map, shadow_frame = _shadow(draws, projected, directions[caster] if caster >= 0 else None)
    colour = np.zeros((size, size, 3), np.float32)
    coverage = np.zeros((size, size), np.float32)
    measured = np.zeros(2, np.float64)
    first = 0
    for draw, geometry in zip(draws, projected, strict=True):
        surface, relief = draw.surface, draw.relief or _FLAT
        occlusion = draw.occlusion if draw.occlusion is not None else np.ones(len(draw.positions), np.float32)
        parameters = np.array(
            [
                *surface.tint, surface.specular, surface.gloss, surface.wrap, surface.scatter,
                surface.two_sided, surface.weighs_exposure,
            ],
            np.float32,
        )  # fmt: skip
        _shade(
            geometry.camera, geometry.screen, geometry.normals, occlusion, draw.triangles, draw.uv,
            draw.texture.texels, draw.texture.levels, relief.heights, relief.levels, parameters, first, samples, depth, owner,
            directions, colours, caster, shadow_map, shadow_frame,
            np.array(ambient[0], np.float32), np.array(ambient[1], np.float32), _TO_LINEAR, colour, coverage, measured,
        )  # fmt: skip
        first += len(draw.triangles)
    mean = measured[0] / measured[1] if measured[1] > 0 else _KEY_EXPOSURE
    exposure = float(np.clip((_KEY_EXPOSURE / max(mean, 1e-3)) ** auto_exposure, 0.35, 4.0))
    picture = np.empty((size, size, 3), np.uint8)
    _resolve(colour, coverage, background, exposure, toe, _TO_LINEAR, _TO_SRGB, picture)
    return picture


@dataclass(frozen=True, slots=True, eq=False)
class _Projected:
    camera: Floats
    screen: Floats
    normals: Floats


def _project_all(draws: Sequence[Draw], view: View, size: int) -> list[_Projected]:
    """Camera and screen positions per draw; draws that share their positions share the work."""
    known: dict[int, tuple[Floats, Floats]] = {}
    projected = []
    centre = np.array(view.centre, np.float32)
    for draw in draws:
        if id(draw.positions) not in known:
            camera, screen = np.empty_like(draw.positions), np.empty_like(draw.positions)
            _project(draw.positions, centre, view.distance, size * view.distance / view.width, size, camera, screen)
            known[id(draw.positions)] = camera, screen
        camera, screen = known[id(draw.positions)]
        normals = draw.normals if draw.normals is not None else vertex_normals(draw.positions, draw.triangles)
        projected.append(_Projected(camera, screen, normals))
    return projected


def _sample_grid(supersample: int) -> Floats:
    """Positions of a pixel's samples, relative to its corner (S, 2)."""
    if supersample == 2:
        return np.array([[0.375, 0.125], [0.875, 0.375], [0.125, 0.625], [0.625, 0.875]], np.float32)
    steps = (np.arange(supersample) + 0.5) / supersample
    return np.stack(np.meshgrid(steps, steps), -1).reshape(-1, 2).astype(np.float32)


def _light_arrays(lights: Sequence[Light], shadows: bool) -> tuple[Floats, Floats, int]:
    directions = np.array([light.direction for light in lights], np.float32).reshape(-1, 3)
    directions /= np.linalg.norm(directions, axis=1, keepdims=True) + 1e-9
    colours = np.array([light.colour for light in lights], np.float32).reshape(-1, 3)
    caster = next((i for i, light in enumerate(lights) if light.casts_shadow and shadows), -1)
    return directions, colours, caster


def _shadow(draws: Sequence[Draw], projected: list[_Projected], direction: Floats | None) -> tuple[Floats, Floats]:
    """Depth map seen from the light, and its frame: rows right, up, towards the light, and (offset x, offset y, texels per cm)."""
    frame = np.zeros((4, 3), np.float32)
    if direction is None:
        return np.zeros((1, 1), np.float32), frame
    across = np.cross([0.0, 1.0, 0.0] if abs(direction[1]) < 0.95 else [1.0, 0.0, 0.0], direction)
    across /= np.linalg.norm(across)
    frame[0], frame[1], frame[2] = across, np.cross(direction, across), direction
    casters = [i for i, draw in enumerate(draws) if draw.casts_shadow and len(draw.triangles)]
    flat = {id(projected[i].camera): projected[i].camera @ frame[:3].T for i in casters}
    low = np.min([points.min(0) for points in flat.values()], axis=0)[:2] if flat else np.zeros(2)
    high = np.max([points.max(0) for points in flat.values()], axis=0)[:2] if flat else np.ones(2)
    shadow_map = np.full((SHADOW_MAP, SHADOW_MAP), -1e6, np.float32)
    if casters:
        scale = (SHADOW_MAP - 8) / max(float((high - low).max()), 1e-3)
        frame[3] = (low[0] - 4 / scale, low[1] - 4 / scale, scale)
        for i in casters:
            draw = draws[i]
            _cast(
                flat[id(projected[i].camera)], draw.triangles, draw.uv, draw.texture.texels, draw.texture.levels,
                draw.surface.alpha_tested, frame, shadow_map,
            )  # fmt: skip
    return shadow_map, frame


@nb.njit(cache=True, nogil=True, fastmath=True)
def _add_normals(positions, triangles, normals):  # type: ignore[no-untyped-def]
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        ux, vx = positions[b, 0] - positions[a, 0], positions[c, 0] - positions[a, 0]
        uy, vy = positions[b, 1] - positions[a, 1], positions[c, 1] - positions[a, 1]
        uz, vz = positions[b, 2] - positions[a, 2], positions[c, 2] - positions[a, 2]
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        for k in range(3):
            v = triangles[t, k]
            normals[v, 0] += nx
            normals[v, 1] += ny
            normals[v, 2] += nz


@nb.njit(cache=True, nogil=True, fastmath=True)
def _normalise(vectors):  # type: ignore[no-untyped-def]
    for v in range(vectors.shape[0]):
        x, y, z = vectors[v, 0], vectors[v, 1], vectors[v, 2]
        scale = np.float32(1.0) / np.sqrt(x * x + y * y + z * z + np.float32(1e-30))
        vectors[v, 0] = x * scale
        vectors[v, 1] = y * scale
        vectors[v, 2] = z * scale


@nb.njit(cache=True, nogil=True, fastmath=True)
def _project(positions, centre, distance, focal, size, camera, screen):  # type: ignore[no-untyped-def]
    """Fill camera positions, and screen positions as (x, y, 1 / distance along the view); the latter is 0 behind the camera."""
    for v in range(positions.shape[0]):
        x, y = positions[v, 0] - centre[0], positions[v, 1] - centre[1]
        z = positions[v, 2] - centre[2] - np.float32(distance)
        camera[v, 0] = x
        camera[v, 1] = y
        camera[v, 2] = z
        inverse = np.float32(-1.0) / z if z < -_NEAR else np.float32(0.0)
        screen[v, 0] = np.float32(size) / 2 + x * np.float32(focal) * inverse
        screen[v, 1] = np.float32(size) / 2 - y * np.float32(focal) * inverse
        screen[v, 2] = inverse


@nb.njit(cache=True, nogil=True, fastmath=True, inline="always")
def _alpha(texels, levels, u, v):  # type: ignore[no-untyped-def]
    """Alpha of the nearest texel of the second level (cards are always seen reduced)."""
    level = min(1, levels.shape[0] - 1)
    height, width = levels[level, 1], levels[level, 2]
    x = min(max(int(u * width), 0), width - 1)
    y = min(max(int((1 - v) * height), 0), height - 1)
    return texels[levels[level, 0] + y * width + x, 3]


@nb.njit(cache=True, nogil=True, fastmath=True)
def _see(  # type: ignore[no-untyped-def]
    screen, triangles, uv, texels, levels, two_sided, alpha_tested, first, samples, depth, owner
):
    """Visibility: write the nearest triangle's number and 1 / distance into every sample it covers."""
    height, width, count = depth.shape
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0, w0 = screen[a, 0], screen[a, 1], screen[a, 2]
        x1, y1, w1 = screen[b, 0], screen[b, 1], screen[b, 2]
        x2, y2, w2 = screen[c, 0], screen[c, 1], screen[c, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or (area > 0.0 and not two_sided) or w0 == 0.0 or w1 == 0.0 or w2 == 0.0:
            continue
        left, right = min(x0, x1, x2), max(x0, x1, x2)
        top, bottom = min(y0, y1, y2), max(y0, y1, y2)
        if right < 0 or left > width or bottom < 0 or top > height:
            continue
        scale = np.float32(1.0) / area
        for s in range(count):
            ox, oy = samples[s, 0], samples[s, 1]
            xa, xb = max(int(np.ceil(left - ox)), 0), min(int(np.floor(right - ox)), width - 1)
            ya, yb = max(int(np.ceil(top - oy)), 0), min(int(np.floor(bottom - oy)), height - 1)
            for y in range(ya, yb + 1):
                py = y + oy
                for x in range(xa, xb + 1):
                    px = x + ox
                    b1 = ((px - x0) * (y2 - y0) - (x2 - x0) * (py - y0)) * scale
                    b2 = ((x1 - x0) * (py - y0) - (px - x0) * (y1 - y0)) * scale
                    b0 = np.float32(1.0) - b1 - b2
                    if b0 < 0 or b1 < 0 or b2 < 0:
                        continue
                    near = b0 * w0 + b1 * w1 + b2 * w2
                    if near <= depth[y, x, s]:
                        continue
                    if alpha_tested:
                        k0, k1, k2 = b0 * w0 / near, b1 * w1 / near, b2 * w2 / near
                        u = k0 * uv[t, 0, 0] + k1 * uv[t, 1, 0] + k2 * uv[t, 2, 0]
                        v = k0 * uv[t, 0, 1] + k1 * uv[t, 1, 1] + k2 * uv[t, 2, 1]
                        threshold = (
                            (s + x + 2 * y) % count + 0.5
                        ) / count  # a pixel's samples split the alpha between them
                        if _alpha(texels, levels, u, v) < threshold * 255:
                            continue
                    depth[y, x, s] = near
                    owner[y, x, s] = first + t


@nb.njit(cache=True, nogil=True, fastmath=True)
def _cast(points, triangles, uv, texels, levels, alpha_tested, frame, shadow_map):  # type: ignore[no-untyped-def]
    """Depth map of the light: the largest distance towards the light of whatever covers a texel."""
    size = shadow_map.shape[0]
    for t in range(triangles.shape[0]):
        a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
        x0, y0 = (points[a, 0] - frame[3, 0]) * frame[3, 2], (points[a, 1] - frame[3, 1]) * frame[3, 2]
        x1, y1 = (points[b, 0] - frame[3, 0]) * frame[3, 2], (points[b, 1] - frame[3, 1]) * frame[3, 2]
        x2, y2 = (points[c, 0] - frame[3, 0]) * frame[3, 2], (points[c, 1] - frame[3, 1]) * frame[3, 2]
        area = (x1 - x0) * (y2 - y0) - (x2 - x0) * (y1 - y0)
        if area == 0.0 or (area < 0.0 and not alpha_tested):
            continue
        xa, xb = max(int(np.floor(min(x0, x1, x2))), 0), min(int(np.ceil(max(x0, x1, x2))), size - 1)
        ya, yb = max(int(np.floor(min(y0, y1, y2))), 0), min(int(np.ceil(max(y0, y1, y2))), size - 1)
        scale = np.float32(1.0) / area
        for y in range(ya, yb + 1):
            for x in range(xa, xb + 1):
                b1 = ((x + 0.5 - x0) * (y2 - y0) - (x2 - x0) * (y + 0.5 - y0)) * scale
                b2 = ((x1 - x0) * (y + 0.5 - y0) - (x + 0.5 - x0) * (y1 - y0)) * scale
                b0 = 1 - b1 - b2
                if b0 < 0 or b1 < 0 or b2 < 0:
                    continue
                near = b0 * points[a, 2] + b1 * points[b, 2] + b2 * points[c, 2]
                if near <= shadow_map[y, x]:
                    continue
                if alpha_tested:
                    u = b0 * uv[t, 0, 0] + b1 * uv[t, 1, 0] + b2 * uv[t, 2, 0]
                    v = b0 * uv[t, 0, 1] + b1 * uv[t, 1, 1] + b2 * uv[t, 2, 1]
                    if _alpha(texels, levels, u, v) < 128:
                        continue
                shadow_map[y, x] = near


@nb.njit(cache=True, nogil=True, fastmath=True)
def _lit(shadow_map, frame, x, y, z):  # type: ignore[no-untyped-def]
    """Share of the light that reaches a point: 5 × 5 texels around it, with soft ends."""
    fx = (x * frame[0, 0] + y * frame[0, 1] + z * frame[0, 2] - frame[3, 0]) * frame[3, 2] - np.float32(0.5)
    fy = (x * frame[1, 0] + y * frame[1, 1] + z * frame[1, 2] - frame[3, 1]) * frame[3, 2] - np.float32(0.5)
    near = x * frame[2, 0] + y * frame[2, 1] + z * frame[2, 2] + np.float32(_SHADOW_MARGIN)
    ix, iy = int(np.floor(fx)), int(np.floor(fy))
    tx, ty = fx - ix, fy - iy
    size = shadow_map.shape[0]
    if ix < 2 or iy < 2 or ix > size - 4 or iy > size - 4:
        return np.float32(1.0)
    total = np.float32(0.0)
    for j in range(-2, 4):
        wy = (1 - ty) if j == -2 else (ty if j == 3 else np.float32(1.0))
        row = np.float32(0.0)
        for i in range(-2, 4):
            wx = (1 - tx) if i == -2 else (tx if i == 3 else np.float32(1.0))
            if shadow_map[iy + j, ix + i] <= near:
                row += wx
        total += wy * row
    return total / np.float32(25.0)


@nb.njit(cache=True, nogil=True, fastmath=True)
def _shade(  # type: ignore[no-untyped-def]
    camera, screen, normals, occlusion, triangles, uv, texels, levels, heights, relief_levels, parameters, first, samples,
    depth, owner, directions, colours, caster, shadow_map, shadow_frame, above, below, to_linear, colour, coverage, measured,
):  # fmt: skip
    """Shading: once per pixel and visible surface of one draw; adds light and coverage, and measures for the exposure."""
    height, width, count = depth.shape
    last = first + triangles.shape[0]
    specular, gloss, wrap, scatter = parameters[3], parameters[4], parameters[5], parameters[6]
    two_sided, weighs = parameters[7] > 0, parameters[8] > 0
    lobe = (gloss + 2) / 8
    rows_low, rows_high, columns_low, columns_high = height, 0, width, 0
    for t in range(triangles.shape[0]):
        for k in range(3):
            v = triangles[t, k]
            columns_low, columns_high = min(columns_low, int(screen[v, 0])), max(columns_high, int(screen[v, 0]) + 1)
            rows_low, rows_high = min(rows_low, int(screen[v, 1])), max(rows_high, int(screen[v, 1]) + 1)
    light = np.zeros(3, np.float32)
    albedo = np.zeros(3, np.float32)
    for y in range(max(rows_low, 0), min(rows_high + 1, height)):
        for x in range(max(columns_low, 0), min(columns_high + 1, width)):
            done = 0
            for s in range(count):
                if owner[y, x, s] < first or owner[y, x, s] >= last or done >> s & 1:
                    continue
                # gather the samples of this pixel that see the same surface
                near = depth[y, x, s]
                seen = 0
                for r in range(s, count):
                    if first <= owner[y, x, r] < last and abs(depth[y, x, r] - near) < near * 0.012:
                        done |= 1 << r
                        seen += 1
                share = np.float32(seen) / count

                # where on the triangle
                t = owner[y, x, s] - first
                a, b, c = triangles[t, 0], triangles[t, 1], triangles[t, 2]
                x0, y0 = screen[a, 0], screen[a, 1]
                x1, y1 = screen[b, 0] - x0, screen[b, 1] - y0
                x2, y2 = screen[c, 0] - x0, screen[c, 1] - y0
                area = x1 * y2 - x2 * y1
                px, py = x + samples[s, 0] - x0, y + samples[s, 1] - y0
                k1, k2 = (px * y2 - x2 * py) / area, (x1 * py - px * y1) / area
                k0 = (1 - k1 - k2) * screen[a, 2] / near
                k1 *= screen[b, 2] / near
                k2 *= screen[c, 2] / near
                u = k0 * uv[t, 0, 0] + k1 * uv[t, 1, 0] + k2 * uv[t, 2, 0]
                v = k0 * uv[t, 0, 1] + k1 * uv[t, 1, 1] + k2 * uv[t, 2, 1]
                cx = k0 * camera[a, 0] + k1 * camera[b, 0] + k2 * camera[c, 0]
                cy = k0 * camera[a, 1] + k1 * camera[b, 1] + k2 * camera[c, 1]
                cz = k0 * camera[a, 2] + k1 * camera[b, 2] + k2 * camera[c, 2]
                nx = k0 * normals[a, 0] + k1 * normals[b, 0] + k2 * normals[c, 0]
                ny = k0 * normals[a, 1] + k1 * normals[b, 1] + k2 * normals[c, 1]
                nz = k0 * normals[a, 2] + k1 * normals[b, 2] + k2 * normals[c, 2]
                scale = np.float32(1.0) / np.sqrt(nx * nx + ny * ny + nz * nz + np.float32(1e-20))
                nx, ny, nz = nx * scale, ny * scale, nz * scale
                scale = np.float32(-1.0) / np.sqrt(cx * cx + cy * cy + cz * cz)
                vx, vy, vz = cx * scale, cy * scale, cz * scale
                if two_sided and nx * vx + ny * vy + nz * vz < 0:
                    nx, ny, nz = -nx, -ny, -nz
                open_air = k0 * occlusion[a] + k1 * occlusion[b] + k2 * occlusion[c]

                # texture, from the level whose texels are about as large as a pixel
                du1, dv1 = uv[t, 1, 0] - uv[t, 0, 0], uv[t, 1, 1] - uv[t, 0, 1]
                du2, dv2 = uv[t, 2, 0] - uv[t, 0, 0], uv[t, 2, 1] - uv[t, 0, 1]
                uv_area = du1 * dv2 - du2 * dv1
                density = abs(uv_area) / (abs(area) + np.float32(1e-9))
                texels_per_pixel = density * levels[0, 1] * levels[0, 2]
                level = 0
                while level < levels.shape[0] - 1 and texels_per_pixel > 2.5:
                    level += 1
                    texels_per_pixel /= 4
                offset, rows, columns = levels[level, 0], levels[level, 1], levels[level, 2]
                fx, fy = u * columns - np.float32(0.5), (1 - v) * rows - np.float32(0.5)
                ix, iy = int(np.floor(fx)), int(np.floor(fy))
                fx, fy = fx - ix, fy - iy
                xa, xb = min(max(ix, 0), columns - 1), min(max(ix + 1, 0), columns - 1)
                ya, yb = min(max(iy, 0), rows - 1), min(max(iy + 1, 0), rows - 1)
                p00, p10 = offset + ya * columns + xa, offset + ya * columns + xb
                p01, p11 = offset + yb * columns + xa, offset + yb * columns + xb
                q00, q10, q01, q11 = (1 - fx) * (1 - fy), fx * (1 - fy), (1 - fx) * fy, fx * fy
                for i in range(3):
                    value = q00 * texels[p00, i] + q10 * texels[p10, i] + q01 * texels[p01, i] + q11 * texels[p11, i]
                    albedo[i] = to_linear[min(max(int(value * np.float32(1023 / 255) + 0.5), 0), 1023)] * parameters[i]

                # bumps: the height map's slope, carried to the surface by the triangle's tangents
                bx, by, bz = nx, ny, nz
                if relief_levels.shape[0] > 0 and abs(uv_area) > 1e-12:
                    steps = density * relief_levels[0, 1] * relief_levels[0, 2]
                    level = 0
                    while level < relief_levels.shape[0] - 1 and steps > 2.5:
                        level += 1
                        steps /= 4
                    offset, rows, columns = relief_levels[level, 0], relief_levels[level, 1], relief_levels[level, 2]
                    fx, fy = u * columns - np.float32(0.5), (1 - v) * rows - np.float32(0.5)
                    ix, iy = min(max(int(fx), 1), columns - 3), min(max(int(fy), 1), rows - 3)
                    fx, fy = min(max(fx - ix, 0), 1), min(max(fy - iy, 0), 1)
                    p = offset + iy * columns + ix
                    east = (1 - fy) * (heights[p + 1] - heights[p]) + fy * (
                        heights[p + columns + 1] - heights[p + columns]
                    )
                    south = (1 - fx) * (heights[p + columns] - heights[p]) + fx * (
                        heights[p + columns + 1] - heights[p + 1]
                    )
                    slope_u, slope_v = east * columns, -south * rows
                    ax, bx1 = camera[b, 0] - camera[a, 0], camera[c, 0] - camera[a, 0]
                    ay, by1 = camera[b, 1] - camera[a, 1], camera[c, 1] - camera[a, 1]
                    az, bz1 = camera[b, 2] - camera[a, 2], camera[c, 2] - camera[a, 2]
                    tx, ty, tz = (
                        (ax * dv2 - bx1 * dv1) / uv_area,
                        (ay * dv2 - by1 * dv1) / uv_area,
                        (az * dv2 - bz1 * dv1) / uv_area,
                    )
                    wx, wy, wz = (
                        (bx1 * du1 - ax * du2) / uv_area,
                        (by1 * du1 - ay * du2) / uv_area,
                        (bz1 * du1 - az * du2) / uv_area,
                    )
                    slope_u /= tx * tx + ty * ty + tz * tz + np.float32(1e-12)
                    slope_v /= wx * wx + wy * wy + wz * wz + np.float32(1e-12)
                    bx, by, bz = (
                        nx - slope_u * tx - slope_v * wx,
                        ny - slope_u * ty - slope_v * wy,
                        nz - slope_u * tz - slope_v * wz,
                    )
                    scale = np.float32(1.0) / np.sqrt(bx * bx + by * by + bz * bz + np.float32(1e-20))
                    bx, by, bz = bx * scale, by * scale, bz * scale

                # light from all around, and its mirror image at grazing angles
                facing = max(bx * vx + by * vy + bz * vz, np.float32(0.02))
                grazing = 1 - facing
                sheen = (np.float32(0.028) + np.float32(0.14) * grazing**5) * specular * open_air
                up = np.float32(0.5) + np.float32(0.5) * by
                mirrored = min(
                    max(np.float32(0.5) + np.float32(0.5) * (2 * facing * by - vy), np.float32(0.0)), np.float32(1.0)
                )
                for i in range(3):
                    around = below[i] + (above[i] - below[i]) * up
                    light[i] = albedo[i] * around * open_air + sheen * (below[i] + (above[i] - below[i]) * mirrored)
                enclosed = open_air + (1 - open_air) * np.float32(0.25)
                for n in range(directions.shape[0]):
                    lx, ly, lz = directions[n, 0], directions[n, 1], directions[n, 2]
                    smooth = nx * lx + ny * ly + nz * lz
                    rough = bx * lx + by * ly + bz * lz
                    lit = np.float32(1.0)
                    if n == caster and smooth > -0.35:
                        # step off the surface along its normal, or bumps and the map's texels shadow themselves
                        reach = np.float32(0.22)
                        lit = _lit(shadow_map, shadow_frame, cx + nx * reach, cy + ny * reach, cz + nz * reach)
                    shine = np.float32(0.0)
                    if rough > 0 and specular > 0:
                        hx, hy, hz = lx + vx, ly + vy, lz + vz
                        scale = np.float32(1.0) / np.sqrt(hx * hx + hy * hy + hz * hz + np.float32(1e-20))
                        across = (bx * hx + by * hy + bz * hz) * scale
                        if across > 0.02:
                            half = (vx * hx + vy * hy + vz * hz) * scale
                            fresnel = np.float32(0.028) + np.float32(0.972) * (1 - half) ** 5
                            shape = lobe * np.exp(gloss * np.log(across)) * fresnel / (half * half + np.float32(0.1))
                            shine = specular * shape * rough * open_air * lit
                    for i in range(3):
                        # red light travels furthest in skin: it turns corners, ignores fine bumps and softens shadows
                        travel = scatter * (
                            np.float32(1.0) if i == 0 else (np.float32(0.4) if i == 1 else np.float32(0.2))
                        )
                        turn = wrap + np.float32(0.17) * travel
                        cosine = rough + (smooth - rough) * np.float32(0.6) * travel
                        cosine = (cosine + turn) / (1 + turn)
                        if cosine > 0:
                            soft = lit + travel * np.float32(0.35) * lit * (1 - lit)
                            light[i] += colours[n, i] * (albedo[i] * cosine * enclosed * soft + shine)
                        elif shine > 0:
                            light[i] += colours[n, i] * shine
                for i in range(3):
                    colour[y, x, i] += share * light[i]
                coverage[y, x] += share
                if weighs:
                    measured[0] += share * (
                        np.float32(0.21) * light[0] + np.float32(0.72) * light[1] + np.float32(0.07) * light[2]
                    )
                    measured[1] += share


@nb.njit(cache=True, nogil=True, fastmath=True)
def _resolve(colour, coverage, background, exposure, toe, to_linear, to_srgb, picture):  # type: ignore[no-untyped-def]
    """Exposure, a shoulder for the highlights, the background behind what is not covered, sRGB."""
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            share = min(coverage[y, x], np.float32(1.0))
            for i in range(3):
                value = np.float32(0.0)
                if share > 0:
                    value = colour[y, x, i] * exposure / share
                    value *= (value + np.float32(0.3 * toe)) / (value + np.float32(toe) + np.float32(1e-9))
                    if value > 0.6:
                        value = np.float32(0.6) + np.float32(0.4) * (
                            1 - np.exp((np.float32(0.6) - value) * np.float32(2.5))
                        )
                behind = to_linear[int(background[y, x, i] * np.float32(1023 / 255) + 0.5)]
                value = value * share + behind * (1 - share)
                picture[y, x, i] = int(to_srgb[min(int(value * 4095 + 0.5), 4095)] * 255 + 0.5)
