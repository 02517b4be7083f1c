"""The rasteriser against geometry worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from openau.synth.parameters import Light
from openau.synth.renderer import Draw, Relief, Surface, Texture, View, render, vertex_normals
from tests.synth.tiny_head import ellipsoid

MATT = Surface(specular=0.0, wrap=0.0)
EVEN = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
DARK = np.zeros((64, 64, 3), np.uint8)
VIEW = View((0.0, 0.0, 0.0), 50.0, 10.0)
NOTHING = ((0.0, 0.0, 0.0), (0.0, 0.0, 0.0))


def linear(image: np.ndarray) -> np.ndarray:
    """sRGB bytes to linear light, by the standard's formula."""
    value = image / 255
    return np.where(value <= 0.04045, value / 12.92, ((value + 0.055) / 1.055) ** 2.4)


def triangle(
    *points: tuple[float, float, float], texture: Texture | None = None, surface: Surface = MATT, **options: object
) -> Draw:
    positions = np.array(points, np.float32)
    triangles = np.array([[0, i, i + 1] for i in range(1, len(points) - 1)], np.int32)
    corners = np.array([(0, 0), (1, 0), (1, 1), (0, 1)], np.float32)[: len(points)]
    return Draw(positions, triangles, corners[triangles], texture or Texture.plain((1, 1, 1)), surface, **options)  # type: ignore[arg-type]


def quad(x: float, y: float, z: float, half: float, **options: object) -> Draw:
    return triangle(
        (x - half, y - half, z), (x + half, y - half, z), (x + half, y + half, z), (x - half, y + half, z), **options
    )  # type: ignore[arg-type]


@pytest.mark.parametrize(("supersample", "tolerance"), [(1, 0.03), (2, 0.012), (4, 0.006)])
def test_a_triangle_covers_its_area(supersample: int, tolerance: float) -> None:
    draw = triangle((-3.3, -2.1, 0), (3.9, -1.2, 0), (-0.7, 4.1, 0))
    image = render([draw], VIEW, (), EVEN, DARK, supersample=supersample)
    a, b = np.array([7.2, 0.9]), np.array([2.6, 6.2])
    area = 0.5 * (a[0] * b[1] - a[1] * b[0])
    covered = linear(image)[..., 0].sum() / 0.5 * (10 / 64) ** 2
    assert covered == pytest.approx(area, rel=tolerance)


def test_ambient_on_white_is_the_ambient() -> None:
    image = render([quad(0, 0, 0, 20)], VIEW, (), EVEN, DARK)
    assert linear(image)[32, 32] == pytest.approx([0.5] * 3, abs=0.005)


def test_the_back_of_a_one_sided_surface_is_not_seen() -> None:
    draw = triangle((-3, -2, 0), (0, 4, 0), (3, -2, 0))
    assert not render([draw], VIEW, (), EVEN, DARK).any()


def test_texture_coordinates_follow_perspective() -> None:
    """A quad that recedes steeply: the texel under each pixel is where that pixel's ray meets the plane, by hand."""
    ramp = np.repeat(np.linspace(0, 255, 256).astype(np.uint8)[None, :, None], 256, 0).repeat(3, 2)
    draw = triangle((-4, -4, 10), (4, -4, -20), (4, 4, -20), (-4, 4, 10), texture=Texture.from_image(ramp))
    image = render([draw], VIEW, (), EVEN, DARK, supersample=1)
    row = linear(image)[32, :, 0] / 0.5
    x = (np.arange(64) + 0.5 - 32) * VIEW.width / 64 / VIEW.distance  # slope of the ray through a pixel's centre
    # the plane: X = -4 + 8 u, Z = 10 - 30 u;  the ray: X = x (50 - Z)
    u = (4 + 40 * x) / (8 - 30 * x)
    inside = (u > 0.05) & (u < 0.95)
    expected = linear(np.round(255 * u[inside]))
    assert inside.sum() > 20
    assert np.abs(row[inside] - expected).max() < 0.02


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_nearer_surface_is_seen_whatever_the_order(order: tuple[int, int]) -> None:
    red, green = Texture.plain((1, 0, 0)), Texture.plain((0, 1, 0))
    draws = [quad(0, 0, 0, 3, texture=red), quad(1, 0, 2, 3, texture=green)]
    image = render([draws[i] for i in order], VIEW, (), EVEN, DARK)
    assert image[32, 32, 1] > 100
    assert image[32, 32, 0] == 0
    assert image[32, 32 - 17, 0] > 100


def test_projected_points_are_where_they_are_drawn() -> None:
    points = np.array([[-3.2, 2.1, 1.0], [2.7, -3.3, -6.0], [0.4, 0.9, 5.0]], np.float32)
    for point, expected in zip(points, VIEW.project(points, 64), strict=True):
        dot = quad(*(float(value) for value in point), 0.6)
        seen = linear(render([dot], VIEW, (), EVEN, DARK, supersample=4))[..., 0]
        y, x = np.mgrid[0:64, 0:64] + 0.5
        centroid = np.array([(seen * x).sum(), (seen * y).sum()]) / seen.sum()
        assert np.abs(centroid - expected).max() < 0.13  # half a sample


def test_a_shadow_falls_on_the_side_away_from_the_light() -> None:
    wall, card = quad(0, 0, -1, 30, casts_shadow=False), quad(0, 0, 2, 0.8)
    light = Light(
        (-1.0, 0.0, 1.0), (0.5, 0.5, 0.5), True
    )  # from the left: the shadow lies 3 cm to the right of the card
    image = linear(render([wall, card], VIEW, (light,), NOTHING, DARK))
    scale = 64 / 10 * 50 / 51
    in_shadow, opposite = image[32, int(32 + 3 * scale)], image[32, int(32 - 3 * scale)]
    assert in_shadow.max() < 0.01
    assert opposite.min() > 0.3
    without = linear(render([wall, card], VIEW, (light,), NOTHING, DARK, shadows=False))
    assert without[32, int(32 + 3 * scale)].min() > 0.3


def test_a_shadow_has_a_soft_edge() -> None:
    wall, card = quad(0, 0, -1, 30, casts_shadow=False), quad(0, 0, 2, 1.6)
    light = Light((-1.0, 0.0, 1.0), (0.5, 0.5, 0.5), True)
    row = linear(render([wall, card], VIEW, (light,), NOTHING, DARK))[32, 40:, 0]
    between = (row > 0.05 * row.max()) & (row < 0.95 * row.max())
    assert between.any()


def test_lambert() -> None:
    """Without wrap or scatter, light falls with the cosine."""
    image = [
        linear(render([quad(0, 0, 0, 20)], VIEW, (Light(d, (0.5, 0.5, 0.5), False),), NOTHING, DARK))[32, 32, 0]
        for d in ((0.0, 0.0, 1.0), (3**0.5, 0.0, 1.0))
    ]
    assert image[0] == pytest.approx(0.5, abs=0.005)
    assert image[1] == pytest.approx(0.25, abs=0.005)


def test_alpha_is_split_between_a_pixels_samples() -> None:
    half = np.full((8, 8, 4), 255, np.uint8)
    half[..., 3] = 127
    card = Surface(specular=0.0, wrap=0.0, alpha_tested=True, two_sided=True)
    image = linear(render([quad(0, 0, 0, 20, texture=Texture.from_image(half), surface=card)], VIEW, (), EVEN, DARK))
    assert image.mean() == pytest.approx(0.25, abs=0.01)


def test_a_bump_is_bright_on_the_side_of_the_light() -> None:
    x = np.linspace(-1, 1, 128)
    ridge = np.repeat(0.8 * np.exp(-((x / 0.2) ** 2))[None], 128, 0).astype(np.float32)
    draw = quad(0, 0, 0, 5, relief=Relief.from_heights(ridge))
    image = linear(render([draw], VIEW, (Light((-1.0, 0.0, 1.0), (0.4, 0.4, 0.4), False),), NOTHING, DARK))[32, :, 0]
    assert image[27:31].mean() > 1.15 * image[2:10].mean()
    assert image[33:37].mean() < 0.85 * image[2:10].mean()


def test_normals_of_a_sphere_point_outward() -> None:
    vertices, triangles, _ = ellipsoid(48, 32)
    normals = vertex_normals(vertices, triangles)
    inner = np.abs(vertices[:, 1]) < 0.95
    seam = np.abs(np.abs(np.arctan2(vertices[:, 0], vertices[:, 2])) - np.pi) < 0.01
    assert (normals[inner & ~seam] * vertices[inner & ~seam]).sum(1).min() > 0.995


def test_exposure_evens_out_dark_and_bright() -> None:
    skin = Surface(specular=0.0, weighs_exposure=True)

    def brightness(level: float, strength: float) -> float:
        ambient = ((level,) * 3, (level,) * 3)
        return float(
            linear(render([quad(0, 0, 0, 20, surface=skin)], VIEW, (), ambient, DARK, auto_exposure=strength)).mean()
        )

    assert brightness(0.4, 0.0) / brightness(0.1, 0.0) == pytest.approx(4, rel=0.02)
    assert brightness(0.4, 0.5) / brightness(0.1, 0.5) == pytest.approx(2, rel=0.02)


def test_the_background_shows_where_nothing_is() -> None:
    background = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    image = render([quad(0, 0, 0, 1)], VIEW, (), EVEN, background)
    assert np.abs(image[:20].astype(int) - background[:20]).max() <= 1


def test_same_scene_same_bytes() -> None:
    vertices, triangles, uv = ellipsoid(48, 32)
    draw = Draw(3 * vertices, triangles, uv, Texture.plain((0.8, 0.6, 0.5)), Surface(scatter=0.8))
    lights = (Light((-0.5, 0.4, 1.0), (0.7, 0.6, 0.5), True),)
    first, second = (render([draw], VIEW, lights, EVEN, DARK).tobytes() for _ in range(2))
    assert first == second


def test_reductions_of_a_texture_keep_its_mean() -> None:
    image = np.random.default_rng(1).integers(0, 256, (64, 96, 3)).astype(np.uint8)
    texture = Texture.from_image(image)
    offset, height, width = texture.levels[2]
    level = texture.texels[offset : offset + height * width]
    assert (height, width) == (16, 24)
    assert level[:, :3].mean() == pytest.approx(image.mean(), abs=1)
