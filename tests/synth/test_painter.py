"""Paint where a person's parameters say, and nothing that changes from run to run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from openau.synth.fields import noise, resized, smoothstep
from openau.synth.painter import SKIN_SIDE, Head, Paint, Sheet, brow_hairs, hair_depth, paint
from openau.synth.parameters import BrowStyle, Person
from openau.synth.wrinkles import WRINKLED_AUS, wrinkle_maps
from tests.synth.tiny_head import TinyRig, person

RIG = TinyRig()
SKIN = RIG.parts[0]
HEAD = Head(
    RIG.neutral[RIG.landmarks],
    RIG.landmark_uv,
    Sheet.of(RIG.neutral, SKIN.triangles, SKIN.uv, SKIN_SIDE),
    {},
    iris_angle=0.5,
)
POINTS = np.stack([RIG.landmark_uv[:, 0], 1 - RIG.landmark_uv[:, 1]], 1) * SKIN_SIDE


def painted(who: Person, seed: int = 3) -> Paint:
    return paint(HEAD, who, np.random.default_rng(seed))


def patch(image: np.ndarray, at: np.ndarray, half: int = 8) -> np.ndarray:
    x, y = (round(float(value)) for value in at)
    return image[y - half : y + half, x - half : x + half]


def test_position_map_tells_where_a_texel_lies() -> None:
    """On the ellipsoid the map is known in closed form."""
    sheet = resized(HEAD.skin.position, SKIN_SIDE)
    u, v = 0.6, 0.7
    azimuth, elevation = (u - 0.5) * 2 * np.pi, (v - 0.5) * np.pi
    expected = np.array(
        [np.cos(elevation) * np.sin(azimuth), np.sin(elevation), np.cos(elevation) * np.cos(azimuth)]
    ) * [7.5, 11, 9]
    found = sheet[round((1 - v) * SKIN_SIDE), round(u * SKIN_SIDE)]
    assert np.abs(found - expected).max() < 0.12


@pytest.mark.parametrize("height", [-0.02, 0.0, 0.015])
def test_brows_lie_where_their_style_says(height: float) -> None:
    style = BrowStyle(height, 0.0, 0.0, 0.012, 1.0, 0.0)
    scale = float(np.linalg.norm(RIG.landmark_uv[45] - RIG.landmark_uv[36])) / 0.37
    roots, tips, _ = brow_hairs(RIG.landmark_uv, style, np.random.default_rng(0))
    reference, _, _ = brow_hairs(RIG.landmark_uv, replace(style, height=0.0), np.random.default_rng(0))
    assert (roots - reference)[:, 1].mean() == pytest.approx(height * scale, abs=1e-5)
    assert roots[:, 1].mean() - RIG.landmark_uv[17:27, 1].mean() == pytest.approx(
        height * scale, abs=0.5 * 0.012 * scale
    )
    assert (np.abs(tips[:, 0] - 0.5) > np.abs(roots[:, 0] - 0.5)).mean() > 0.9  # hairs point outward


def test_brow_tilt_and_gap() -> None:
    style = BrowStyle(0.0, 0.0, 0.0, 0.012, 1.0, 0.0)

    def inner_end(changed: BrowStyle) -> np.ndarray:
        roots, _, _ = brow_hairs(RIG.landmark_uv, changed, np.random.default_rng(0))
        left = roots[roots[:, 0] > 0.5]
        return left[left[:, 0] < np.quantile(left[:, 0], 0.2)].mean(0)

    assert inner_end(replace(style, tilt=0.01))[1] > inner_end(style)[1] + 0.001
    assert inner_end(replace(style, gap=-0.02))[0] < inner_end(style)[0] - 0.001


def test_painted_brows_are_dark_there() -> None:
    low, high = (
        painted(person(brow=BrowStyle(height, 0.0, 0.0, 0.012, 1.0, 0.0))).albedo.astype(float).mean(2)
        for height in (-0.02, 0.02)
    )
    scale = float(np.linalg.norm(RIG.landmark_uv[45] - RIG.landmark_uv[36])) / 0.37
    for image, height in ((low, -0.02), (high, 0.02)):
        middle = POINTS[19] - np.array([0, height * scale * SKIN_SIDE])
        above = middle - np.array([0, 0.05 * scale * SKIN_SIDE])
        assert patch(image, middle, 3).mean() < 0.75 * patch(image, above, 3).mean()


def test_tone_goes_from_light_to_dark() -> None:
    cheek = [
        patch(painted(person(tone=tone)).albedo, (POINTS[31] + POINTS[2]) / 2).mean() for tone in (0.0, 0.35, 0.7, 1.0)
    ]
    assert cheek == sorted(cheek, reverse=True)
    assert cheek[0] > 2 * cheek[-1]


def test_a_beard_darkens_the_chin_and_not_the_cheekbone() -> None:
    bare, full = (painted(person(beard=amount)).albedo.astype(float) for amount in (0.0, 0.75))
    chin = (POINTS[57] + POINTS[8]) / 2
    assert patch(full, chin).mean() < 0.75 * patch(bare, chin).mean()
    under_eye = POINTS[41] + np.array([0, 24])
    assert patch(full, under_eye).mean() == pytest.approx(patch(bare, under_eye).mean(), rel=0.02)


def test_lipstick_colours_the_lips_only() -> None:
    plain, made_up = (painted(person(lipstick=strength)).albedo.astype(float) for strength in (0.0, 0.9))
    lip = (POINTS[57] + POINTS[66]) / 2
    assert np.abs(patch(made_up, lip, 3).mean((0, 1)) - patch(plain, lip, 3).mean((0, 1))).max() > 15
    assert np.abs(patch(made_up, POINTS[30], 6) - patch(plain, POINTS[30], 6)).max() <= 1


def test_a_photographic_skin_takes_the_persons_tone() -> None:
    base = np.full((256, 256, 3), (200, 150, 130), np.uint8)
    for tone in (0.1, 0.9):
        with_photo = paint(HEAD, person(tone=tone), np.random.default_rng(1), base).albedo
        without = paint(HEAD, person(tone=tone), np.random.default_rng(1)).albedo
        at = (POINTS[31] + POINTS[2]) / 2
        assert patch(with_photo, at).mean() == pytest.approx(patch(without, at).mean(), rel=0.12)


def test_hair_covers_the_crown_and_not_the_face() -> None:
    crown, forehead, chin = np.array([[0, 11, 0], [0, 5.5, 7.7], [0, -8, 6]], np.float32)
    depth = hair_depth(np.stack([crown, forehead, chin]), RIG.neutral[RIG.landmarks], 4.0, 0.0)
    assert depth[0] > 1
    assert depth[1] < 0
    assert depth[2] < -5


def test_wrinkles_lie_where_their_muscle_folds_the_skin() -> None:
    side = 256
    maps = wrinkle_maps(RIG.landmark_uv, side, np.random.default_rng(2))
    points = np.stack([RIG.landmark_uv[:, 0], 1 - RIG.landmark_uv[:, 1]], 1) * side
    assert set(maps) == set(WRINKLED_AUS)
    y, x = np.mgrid[0:side, 0:side]

    def centre(number: int) -> np.ndarray:
        depth = np.maximum(-maps[number], 0)
        return np.array([(depth * x).sum(), (depth * y).sum()]) / depth.sum()

    brow, eyes, mouth = points[17:27, 1].mean(), points[36:48, 1].mean(), points[48:60, 1].mean()
    assert centre(1)[1] < brow
    assert centre(2)[1] < brow
    assert abs(centre(4)[1] - brow) < eyes - brow
    assert eyes - 5 < centre(6)[1] < mouth
    assert centre(9)[1] < points[33, 1]
    assert points[33, 1] < centre(12)[1] < mouth + 5
    assert centre(17)[1] > mouth
    for field in maps.values():
        assert -0.5 < field.min() < 0  # cm


def test_wrinkles_are_soft() -> None:
    """No texel-wide lines: neighbouring heights differ by a fraction of the depth."""
    full_frame = ((RIG.landmark_uv - 0.5) * 2.2 + 0.5).astype(
        np.float32
    )  # a face that fills its texture, as the rigs' do
    for field in wrinkle_maps(full_frame, 512, np.random.default_rng(0)).values():
        assert np.abs(np.diff(field, axis=1)).max() < 0.6 * np.abs(field).max()


def test_static_furrows_are_baked_in() -> None:
    smooth, furrowed = painted(person()), painted(person(furrows={4: 1.0}))
    difference = furrowed.relief - smooth.relief
    assert np.allclose(difference, 0.75 * smooth.wrinkles[4], atol=1e-6)


def test_an_eye_is_dark_inside_and_light_outside() -> None:
    eye = painted(person()).eye.astype(float).mean(2)
    middle = eye.shape[0] // 2
    assert eye[middle, middle] < 20
    assert eye[middle, -20] > 140


def test_same_seed_same_paint() -> None:
    first, second, other = painted(person(beard=0.4)), painted(person(beard=0.4)), painted(person(beard=0.4), seed=4)
    assert first.albedo.tobytes() == second.albedo.tobytes()
    assert first.relief.tobytes() == second.relief.tobytes()
    assert first.albedo.tobytes() != other.albedo.tobytes()


def test_noise_has_unit_variance_and_smoothstep_its_ends() -> None:
    field = noise(256, {8: 1.0, 40: 0.7, 128: 0.5}, np.random.default_rng(0))
    assert 0.6 < field.std() < 1.3
    assert smoothstep(1.0, 3.0, np.array([0.0, 1.0, 2.0, 3.0, 9.0])).tolist() == [0, 0, 0.5, 1, 1]
    assert smoothstep(3.0, 1.0, np.array([0.0, 2.0, 9.0])).tolist() == [1, 0.5, 0]
