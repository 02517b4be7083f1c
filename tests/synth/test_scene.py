"""The studio: pose, light, measures, what the camera does, and the same bytes every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from openau.errors import InputError
from openau.synth.backdrop import backdrop
from openau.synth.finish import apply_finish, encode, occlude
from openau.synth.parameters import Camera, Finish, Glasses, Light, Occluder
from openau.synth.scene import Picture, Sitter, Studio, head_rotation
from tests.synth.tiny_head import PLAIN_FINISH, TinyRig, person, shot

STUDIO = Studio(TinyRig(), size=128)


@pytest.fixture(scope="module")
def sitter() -> Sitter:
    return STUDIO.person(person(), np.random.default_rng(0))


def shoot(sitter: Sitter, **changes: object) -> Picture:
    return STUDIO.shoot(sitter, shot(**changes), np.random.default_rng(0))


def test_light_from_the_left_of_the_picture_brightens_its_left(sitter: Sitter) -> None:
    left, right = (
        shoot(sitter, lights=(Light((x, 0.2, 0.6), (0.8, 0.8, 0.8), True),)).image[40:90, 30:98].astype(float)
        for x in (-1.0, 1.0)
    )
    assert left[:, :34].mean() > 1.2 * left[:, 34:].mean()
    assert right[:, 34:].mean() > 1.2 * right[:, :34].mean()


def test_the_head_turns_the_way_the_signs_say(sitter: Sitter) -> None:
    nose, ears, forehead_middle, chin = 30, [0, 16], 27, 8

    def nose_from_ears(*head: float) -> np.ndarray:
        points = shoot(sitter, head=head).landmarks
        return points[nose] - points[ears].mean(0)

    rest = nose_from_ears(0.0, 0.0, 0.0)
    assert nose_from_ears(0.0, 20.0, 0.0)[0] > rest[0] + 5  # the subject's left is on the right
    assert nose_from_ears(20.0, 0.0, 0.0)[1] < rest[1] - 5
    tilted = shoot(sitter, head=(0.0, 0.0, 20.0)).landmarks
    assert tilted[forehead_middle, 0] > tilted[chin, 0] + 10


def test_head_rotation_is_the_one_head_pose_measures() -> None:
    """`openau.faces.pose` must read back what the studio set, from the 3-D landmarks as Face Mesh gives them (y down, z away)."""
    from openau.faces.features import CANONICAL
    from openau.faces.pose import head_pose

    flip = np.array([1.0, -1.0, -1.0])
    for angles in ((12.0, -25.0, 8.0), (-15.0, 30.0, -20.0)):
        head = CANONICAL * flip
        turned = head @ head_rotation(*angles).T.astype(float) * flip
        assert head_pose(turned) == pytest.approx(angles, abs=0.2)


def test_landmarks_are_where_the_skin_is(sitter: Sitter) -> None:
    """The face's outline in the picture encloses the landmarks; the eyes' landmarks frame dark irises."""
    picture = shoot(sitter)
    assert picture.landmarks.shape == (68, 2)
    grey = picture.image.astype(float).mean(2)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = picture.landmarks[eye].mean(0)
        assert 0 < x < 128
        assert grey[int(y) - 2 : int(y) + 3, int(x) - 2 : int(x) + 3].min() < 0.6 * grey[int(y) + 14, int(x)]


def test_the_camera_frames_the_face(sitter: Sitter) -> None:
    near, far = (
        np.ptp(shoot(sitter, camera=Camera(8.0, framing, (0.0, 0.0))).landmarks[:, 0]) for framing in (2.0, 4.0)
    )
    assert near == pytest.approx(2 * far, rel=0.05)
    moved = shoot(sitter, camera=Camera(8.0, 2.4, (0.1, 0.05))).landmarks - shoot(sitter).landmarks
    assert moved.mean(0) == pytest.approx([12.8, 6.4], abs=0.7)


def test_lip_gap_is_the_opening_in_millimetres(sitter: Sitter) -> None:
    assert shoot(sitter).lip_gap == 0
    opened = shoot(sitter, expression={"jawOpen": 0.8})
    assert opened.lip_gap == pytest.approx(8.0, abs=0.01)
    assert min(opened.eye_opening) > 1


def test_the_same_seed_gives_the_same_bytes() -> None:
    who = person(hair=3, sex="f", beard=0.0)
    busy = shot(finish=Finish(0.5, 2.0, 1.1, 1.05, 3.0, (1.0, 0.97, 1.02), False, 0.8, 88))

    def once() -> bytes:
        studio = Studio(TinyRig(), size=96)
        sitter = studio.person(who, np.random.default_rng(5))
        return encode(studio.shoot(sitter, busy, np.random.default_rng(6)).image, busy.finish)

    assert once() == once()


def test_wrinkles_of_strength_zero_change_nothing(sitter: Sitter) -> None:
    lights = (Light((-0.8, 0.6, 0.5), (0.8, 0.8, 0.8), True),)
    rest = shoot(sitter, lights=lights).image
    assert np.array_equal(shoot(sitter, lights=lights, wrinkles={1: 0.0, 12: 0.0}).image, rest)
    assert not np.array_equal(shoot(sitter, lights=lights, wrinkles={1: 1.0, 12: 1.0}).image, rest)


def test_an_unknown_shape_is_refused(sitter: Sitter) -> None:
    with pytest.raises(KeyError):
        shoot(sitter, expression={"noSuchShape": 1.0})


def test_glasses_and_hair_are_worn() -> None:
    frame = Glasses(0.4, 0.3, 0.05, 0.05, (0.05, 0.05, 0.05), 0.2, 0.5)
    bare, with_glasses, with_hair = (
        shoot(STUDIO.person(who, np.random.default_rng(0)), head=(-35.0, 0.0, 0.0), camera=Camera(8.0, 3.0, (0.0, 0.0)))
        for who in (person(), person(glasses=frame), person(hair=1, hair_colour=(0.8, 0.1, 0.1)))
    )
    eyes = bare.landmarks[36:48].mean(0).astype(int)
    strip = np.s_[eyes[1] - 12 : eyes[1] + 12, 30:98]
    assert np.abs(with_glasses.image[strip].astype(int) - bare.image[strip]).max() > 60
    above = np.s_[: int(bare.landmarks[17:27, 1].min()) - 14, 40:88]
    assert (
        with_hair.image[above].astype(float)[..., 0].mean() > with_hair.image[above].astype(float)[..., 1].mean() + 10
    )


def test_a_plain_finish_changes_no_byte() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3)).astype(np.uint8)
    assert np.array_equal(apply_finish(image, PLAIN_FINISH, np.random.default_rng(1)), image)


def test_finish_does_what_it_says() -> None:
    image = np.full((64, 64, 3), (90, 120, 150), np.uint8)

    def finished(**changes: object) -> np.ndarray:
        return apply_finish(image, replace(PLAIN_FINISH, **changes), np.random.default_rng(1)).astype(float)  # type: ignore[arg-type]

    assert finished(brightness=20.0)[0, 0] == pytest.approx([110, 140, 170], abs=1)
    assert finished(contrast=1.2)[0, 0] == pytest.approx((np.array([90, 120, 150]) - 127.5) * 1.2 + 127.5, abs=1)
    assert finished(gamma=2.0)[0, 0] == pytest.approx(255 * (np.array([90, 120, 150]) / 255) ** 2, abs=1)
    assert finished(colour=(1.1, 1.0, 0.9))[0, 0] == pytest.approx([99, 120, 135], abs=1)
    assert np.ptp(finished(grey=True), axis=2).max() == 0
    assert finished(noise=4.0, grey=True).std() == pytest.approx(4.0, rel=0.1)
    assert finished(noise=4.0).mean() == pytest.approx(120, abs=0.5)


def test_blur_and_resolution_take_detail_away() -> None:
    board = np.repeat((np.indices((64, 64)).sum(0) % 2 * 255).astype(np.uint8)[..., None], 3, 2)
    rng = np.random.default_rng(0)
    blurred = apply_finish(board, Finish(1.5, 0, 1, 1, 0, (1, 1, 1), False, 1.0, 90), rng)
    reduced = apply_finish(board, Finish(0, 0, 1, 1, 0, (1, 1, 1), False, 0.5, 90), rng)
    assert blurred.std() < 0.1 * board.std()
    assert reduced.std() < 0.2 * board.std()


def test_jpeg_keeps_the_colours_apart() -> None:
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    data = encode(image, PLAIN_FINISH)
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert decoded[16, 16] == pytest.approx([200, 0, 0], abs=8)


@pytest.mark.parametrize("kind", ["blob", "bar"])
def test_an_occluder_covers_its_place_only(kind: str) -> None:
    image = np.full((100, 100, 3), 255, np.uint8)
    covered = occlude(image, Occluder(kind, (0.3, 0.6), 0.1, 0.0, (0.1, 0.1, 0.1)), np.random.default_rng(0))  # type: ignore[arg-type]
    assert covered[60, 30].max() < 80
    assert covered[20, :].min() == 255


def test_backdrops_differ_by_seed_and_repeat() -> None:
    pictures = [backdrop(seed, 48) for seed in range(12)]
    assert all(picture.shape == (48, 48, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(backdrop(3, 48), pictures[3])
    assert len({picture.tobytes() for picture in pictures}) == 12
    grey = [np.ptp(picture.astype(float).mean((0, 1))) for picture in pictures]
    assert np.median(grey) < 60  # nothing like the green and magenta screens of a game


def test_a_folder_of_backgrounds(tmp_path: Path) -> None:
    red = np.zeros((80, 120, 3), np.uint8)
    red[..., 2] = 220
    cv2.imwrite(str(tmp_path / "red.png"), red)
    picture = backdrop(1, 48, [tmp_path / "red.png"])
    assert picture.mean((0, 1)) == pytest.approx([220, 0, 0], abs=2)
    (tmp_path / "broken.png").write_bytes(b"no image")
    with pytest.raises(InputError, match=r"broken\.png"):
        backdrop(1, 48, [tmp_path / "broken.png"])
