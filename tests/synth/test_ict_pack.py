"""Packing: a tiny checkout in ICT-FaceKit's layout, with numbers that can be checked by hand."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from openau.errors import InputError, OutputError, WeightsError
from openau.synth.ict_pack import ARRAYS, EXPECTED, array_hashes, pack, verify

SQUARE = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0), (0.5, 0.5, 2)]


def write_obj(file: Path, points: list[tuple[float, float, float]], faces: bool = False) -> None:
    lines = ["# made for a test", *(f"v {x} {y} {z}" for x, y, z in points)]
    if faces:
        lines += ["vt 0 0", "vt 1 0 0.5", "vt 1 1", "vt 0.25 0.75"]
        lines += ["usemtl M_Face", "f 1/1/1 2/2/1 3/3/1 4/4/1", "usemtl M_Teeth", "f 1/1 2/2 5/3"]
    file.write_text("\n".join(lines) + "\n")


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two expressions and two identity modes: each moves one vertex by a known step."""
    folder = tmp_path / "ICT-FaceKit" / "FaceXModel"
    folder.mkdir(parents=True)
    write_obj(folder / "generic_neutral_mesh.obj", SQUARE, faces=True)
    for number, name in enumerate(("jawOpen", "browDown_L", "identity000", "identity001")):
        moved = list(SQUARE)
        x, y, z = moved[number]
        moved[number] = (x + 0.25, y, z - 0.5 * number)
        write_obj(folder / f"{name}.obj", moved)
    (folder / "vertex_indices.json").write_text(json.dumps({"expressions": ["jawOpen", "browDown_L"]}))
    return folder.parent


@pytest.mark.parametrize("inner", ["", "FaceXModel"])
def test_packs_what_the_files_say(checkout: Path, tmp_path: Path, inner: str) -> None:
    out = tmp_path / "packed.npz"
    seen: list[tuple[int, int]] = []
    pack(checkout / inner, out, lambda done, total: seen.append((done, total)))
    with np.load(out, allow_pickle=False) as arrays:
        assert set(arrays.files) == set(ARRAYS)
        np.testing.assert_array_equal(arrays["neutral"], np.array(SQUARE, np.float32))
        expected = np.zeros((2, 5, 3))
        expected[0, 0], expected[1, 1] = (0.25, 0, 0), (0.25, 0, -0.5)
        np.testing.assert_array_equal(arrays["exp"], expected)
        np.testing.assert_array_equal(arrays["ident"][:, [2, 3]].sum(0), [[0.25, 0, -1.0], [0.25, 0, -1.5]])
        assert arrays["exp_names"].tolist() == ["jawOpen", "browDown_L"]
        # A square becomes a fan of two triangles; texture coordinates keep two values.
        assert arrays["faces"].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 4]]
        assert arrays["faces_uv"].tolist() == [[0, 1, 2], [0, 2, 3], [0, 1, 2]]
        assert arrays["uv"].tolist() == [[0, 0], [1, 0], [1, 1], [0.25, 0.75]]
        assert arrays["mat"].tolist() == ["M_Face", "M_Face", "M_Teeth"]
        assert {name: arrays[name].dtype.kind for name in ARRAYS} == {
            "neutral": "f", "exp": "f", "ident": "f", "uv": "f", "faces": "i", "faces_uv": "i", "mat": "U", "exp_names": "U",
        }  # fmt: skip
    assert seen[-1] == (5, 5)
    assert not list(tmp_path.glob("*.partial"))


def test_hashes_are_of_the_content_not_of_the_compression(checkout: Path, tmp_path: Path) -> None:
    pack(checkout, tmp_path / "a.npz")
    with np.load(tmp_path / "a.npz") as arrays:
        np.savez(tmp_path / "b.npz", **{name: arrays[name] for name in arrays.files})
    assert (tmp_path / "a.npz").read_bytes() != (tmp_path / "b.npz").read_bytes()
    assert array_hashes(tmp_path / "a.npz") == array_hashes(tmp_path / "b.npz")


def test_verify_refuses_another_model(checkout: Path, tmp_path: Path) -> None:
    assert set(EXPECTED) == set(ARRAYS)
    pack(checkout, tmp_path / "tiny.npz")
    with pytest.raises(WeightsError, match=r"tiny\.npz: not the pinned ICT-FaceKit"):
        verify(tmp_path / "tiny.npz")


def test_a_damaged_checkout_is_named(checkout: Path, tmp_path: Path) -> None:
    model = checkout / "FaceXModel"
    out = tmp_path / "packed.npz"
    with pytest.raises(InputError, match="checkout"):
        pack(tmp_path / "nowhere", out)
    write_obj(model / "identity001.obj", SQUARE[:4])
    with pytest.raises(InputError, match=r"identity001\.obj: has 4 vertices"):
        pack(checkout, out)
    (model / "identity001.obj").write_text("v 1 2 x\n")
    with pytest.raises(InputError, match=r"identity001\.obj: a vertex is damaged"):
        pack(checkout, out)
    (model / "jawOpen.obj").unlink()
    with pytest.raises(InputError, match=r"jawOpen\.obj: cannot be read"):
        pack(checkout, out)
    (model / "vertex_indices.json").write_text('{"expressions": ["../evil"]}')
    with pytest.raises(InputError, match=r"vertex_indices\.json"):
        pack(checkout, out)
    assert not out.exists()


def test_an_unwritable_target_is_named(checkout: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"packed\.npz: cannot be written"):
        pack(checkout, tmp_path / "no" / "folder" / "packed.npz")
