"""`openau bench detect` prints every stage, and ratios to an earlier run."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.weights


@pytest.mark.slow
def test_stages_rate_memory_and_ratios(openau: Callable[..., object], model: Path, media: Path, tmp_path: Path) -> None:
    first = openau(
        "bench", "detect", media / "one.mp4", "--model", model, "--repeat", "1", "--save", tmp_path / "a.json"
    )
    assert first.returncode == 0, first.stderr  # type: ignore[attr-defined]
    numbers = json.loads((tmp_path / "a.json").read_text())
    for stage in ("decode", "detect", "mesh", "align", "features", "AU net", "AU net, batch 1", "write"):
        assert 0 < numbers[f"{stage}, ms"] < 1000
        assert stage in first.stdout  # type: ignore[attr-defined]
    assert numbers["end to end, frames/s"] > 1
    assert numbers["end to end, faces/s"] == pytest.approx(numbers["end to end, frames/s"], rel=0.1)
    assert numbers["frames with a face, %"] > 90
    assert 50 < numbers["peak memory, MB"] < 2000
    assert 0.1 < numbers["one picture from start to end, s"] < 60
    again = openau("bench", "detect", media / "one.mp4", "--model", model, "--against", tmp_path / "a.json")
    assert "ratio" in again.stdout  # type: ignore[attr-defined]
    assert "n = 24 frames, 3 runs" in again.stdout  # type: ignore[attr-defined]


def test_a_clip_without_a_face_is_one_sentence(openau: Callable[..., object], model: Path, tmp_path: Path) -> None:
    from clips import write_clip

    clip = write_clip(tmp_path / "wall.mp4", 5, faces=0, width=320, height=240)
    done = openau("bench", "detect", clip, "--model", model)
    assert done.returncode == 1  # type: ignore[attr-defined]
    assert "shows no face" in done.stderr  # type: ignore[attr-defined]


@pytest.mark.parametrize("content", ["[1, 2]", '{"decode, ms": "two"}', "no"])
def test_a_file_that_save_did_not_write_is_one_sentence(
    openau: Callable[..., object], tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.json").write_text(content)
    done = openau("bench", "detect", "--against", tmp_path / "a.json")
    assert done.returncode == 1  # type: ignore[attr-defined]
    assert "a.json: is not a file that --save wrote" in done.stderr  # type: ignore[attr-defined]
    assert "Traceback" not in done.stderr  # type: ignore[attr-defined]


def test_a_clip_with_several_faces(tmp_path: Path) -> None:
    from openau.bench.clips import make_clip
    from openau.demo import CLIP
    from openau.faces.finder import FaceFinder
    from openau.media import open_video

    clip = make_clip(CLIP, tmp_path / "five.mp4", 0.2, faces=5)
    with open_video(clip) as video:
        images = [frame.image for frame in video]
    assert [image.shape for image in images] == [(720, 1280, 3)] * 6
    found = FaceFinder().find(images[0])
    assert len(found) == 5
    cells = {(int(face.box[0] // (1280 / 3)), int(face.box[1] // 360)) for face in found}
    assert cells == {(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)}
