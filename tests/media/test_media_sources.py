from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from openau.media import Source, classify, expand


def save(path: Path, frames: int = 1) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pictures = [Image.fromarray(np.full((4, 4, 3), 60 * i, np.uint8)) for i in range(frames)]
    pictures[0].save(path, save_all=True, append_images=pictures[1:]) if frames > 1 else pictures[0].save(path)
    return path


def names(sources: list[Source], root: Path) -> list[str]:
    return [Path(s.name).relative_to(root).as_posix() for s in sources]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in ("b.png", "a.JPG", "sub/deep/c.webp", "sub/d.png", ".hidden.png", ".cache/e.png"):
        save(tmp_path / name)
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "sub" / "clip.mp4").write_bytes(b"x")
    return tmp_path


def test_a_folder_is_searched_in_sorted_order(tree: Path) -> None:
    sources = expand([tree])
    assert names(sources, tree) == ["a.JPG", "b.png", "sub/clip.mp4", "sub/d.png", "sub/deep/c.webp"]
    assert [s.kind for s in sources] == ["image", "image", "video", "image", "image"]
    assert all(s.error is None for s in sources)


def test_patterns(tree: Path) -> None:
    assert names(expand([f"{tree}/*.png"]), tree) == ["b.png"]
    assert names(expand([f"{tree}/**/*.png"]), tree) == ["b.png", "sub/d.png"]
    assert names(expand([f"{tree}/*"]), tree) == ["a.JPG", "b.png", "sub/clip.mp4", "sub/d.png", "sub/deep/c.webp"]
    assert names(expand([f"{tree}/**"]), tree) == ["a.JPG", "b.png", "sub/clip.mp4", "sub/d.png", "sub/deep/c.webp"]
    assert names(expand([f"{tree}/*.txt"]), tree) == ["notes.txt"]


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(tmp_path: Path) -> None:
    path = save(tmp_path / "a[1].png")
    assert expand([path]) == [Source(str(path), "image")]


def test_each_file_once_in_the_order_given(tree: Path) -> None:
    sources = expand([tree / "sub" / "d.png", tree, f"{tree}/*.png"])
    assert names(sources, tree) == ["sub/d.png", "a.JPG", "b.png", "sub/clip.mp4", "sub/deep/c.webp"]


def test_a_number_is_a_camera_unless_a_file_has_that_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert expand(["0", "12"]) == [Source("0", "camera"), Source("12", "camera")]
    Image.new("RGB", (2, 2)).save(tmp_path / "0", format="PNG")
    assert expand(["0"]) == [Source("0", "image")]


def test_what_is_missing_does_not_stop_the_others(tree: Path) -> None:
    empty = tree / "empty"
    empty.mkdir()
    missing, pattern = str(tree / "gone.png"), str(tree / "*.tif")
    sources = expand([missing, pattern, empty, tree / "b.png"])
    assert [s.error is None for s in sources] == [False, False, False, True]
    for source, reason in zip(sources, ("no such file", "nothing matches", "holds no images"), strict=False):
        assert str(source.error).startswith(f"{source.name}: ")
        assert reason in str(source.error)


def test_a_folder_named_like_a_picture(tree: Path) -> None:
    odd = tree / "x.jpg"
    odd.mkdir()
    (alone,) = expand([odd])
    assert alone.error is not None
    (inside,) = [s for s in expand([tree]) if s.error]
    assert inside.name == str(odd)
    assert "is a folder" in str(inside.error)
    save(odd / "real.png")
    assert names(expand([odd]), odd) == ["real.png"]


def test_only_an_animated_gif_is_a_video(tmp_path: Path) -> None:
    assert classify(save(tmp_path / "still.gif")) == "image"
    assert classify(save(tmp_path / "moving.gif", frames=3)) == "video"
    assert classify(save(tmp_path / "moving.webp", frames=3)) == "image"


def test_files_without_a_known_suffix_are_told_by_their_header(tmp_path: Path) -> None:
    picture = save(tmp_path / "p.png").rename(tmp_path / "picture")
    assert classify(picture) == "image"
    moving = save(tmp_path / "m.gif", frames=2).rename(tmp_path / "moving")
    assert classify(moving) == "video"
    (tmp_path / "unknown").write_bytes(b"\0" * 100)
    assert classify(tmp_path / "unknown") == "video"
    assert classify(tmp_path / "missing.png") == "image"


def test_a_name_that_cannot_be_looked_up_does_not_stop_the_others(tmp_path: Path) -> None:
    good = save(tmp_path / "good.png")
    long, fine = expand(["a" * 300, good])
    assert "cannot be looked up: file name too long" in str(long.error)
    assert fine == Source(str(good), "image")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may read everything")
def test_a_folder_like_a_file_that_may_not_be_read(tmp_path: Path) -> None:
    save(tmp_path / "good.png")
    (tmp_path / "x.jpg").mkdir(mode=0)
    assert [source.error is None for source in expand([tmp_path])] == [True, False]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.jpg")
    for given in (tmp_path, tmp_path / "pipe.jpg", f"{tmp_path}/*.jpg"):
        (source,) = expand([given])
        assert "pipe.jpg: this is a pipe or a device" in str(source.error)
