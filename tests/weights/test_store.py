from __future__ import annotations

import hashlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from example_card import make_card
from served import Server, asset_of

from openau.errors import UsageError, WeightsError
from openau.weights import assets, cache, store
from openau.weights.arrays import array_hashes
from openau.weights.cards import Asset, HubFile, Packaged, Url

CONTENT = bytes(range(256)) * 1000


def files_in(folder: Path) -> list[str]:
    """What lies in the cache, without the empty lock files."""
    return sorted(p.name for p in folder.rglob("*") if p.suffix != ".lock") if folder.exists() else []


def test_a_file_is_fetched_once_and_then_found(empty_cache: Path, server: Server) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT))
    first = store.path(asset)
    assert first.read_bytes() == CONTENT
    assert first.is_relative_to(empty_cache)
    assert store.path(asset) == first
    assert server.requests == ["/thing"]
    assert files_in(empty_cache) == [first.name]


def test_wrong_bytes_never_enter_the_cache(empty_cache: Path, server: Server) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT[::-1]))
    with pytest.raises(WeightsError, match=r"thing could not be fetched .*SHA-256 begins .*openau fetch thing"):
        store.path(asset)
    assert files_in(empty_cache) == []


def test_the_second_source_is_tried(empty_cache: Path, server: Server) -> None:
    wrong, missing = server.serve("/wrong", b"x" * len(CONTENT)), f"{server.url}/missing"
    asset = asset_of(CONTENT, missing, wrong, server.serve("/right", CONTENT))
    assert store.path(asset).read_bytes() == CONTENT
    assert server.requests == ["/missing", "/wrong", "/right"]


def test_a_broken_connection_is_named(empty_cache: Path, server: Server) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT[:1000], declared=len(CONTENT)))
    with pytest.raises(WeightsError, match="connection broke after 1,000 of 256,000 bytes"):
        store.path(asset)
    assert files_in(empty_cache) == []


def test_a_short_file_without_a_declared_length_is_named(empty_cache: Path, server: Server) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT[:1000], declared=None))
    with pytest.raises(WeightsError, match="1,000 bytes instead of 256,000"):
        store.path(asset)


@pytest.mark.parametrize("declared", [None, 200 << 20])
def test_a_server_cannot_fill_the_disk(empty_cache: Path, server: Server, declared: int | None) -> None:
    endless = bytes(200 << 20)
    asset = asset_of(CONTENT, server.serve("/thing", endless, declared=declared))
    with pytest.raises(WeightsError, match="256,000"):
        store.path(asset)
    # What the sockets buffer may have left the server; the rest was never asked for.
    assert server.bytes_sent < 50 << 20
    assert files_in(empty_cache) == []


def test_offline_says_what_to_run(empty_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT))
    with pytest.raises(WeightsError, match=r"thing is not in the weight cache .*openau fetch thing.*OPENAU_CACHE"):
        store.path(asset)
    assert server.requests == []


@pytest.mark.parametrize(
    ("value", "forbidden"), [("1", True), ("true", True), ("0", False), ("", False), ("no", False)]
)
def test_offline_values(value: str, forbidden: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_OFFLINE", value)
    assert cache.offline() is forbidden


def test_a_copied_cache_works_offline(
    empty_cache: Path, server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT))
    store.path(asset)
    empty_cache.rename(tmp_path / "copied")
    monkeypatch.setenv("OPENAU_CACHE", str(tmp_path / "copied"))
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    assert store.path(asset).read_bytes() == CONTENT


@pytest.mark.parametrize("damage", [CONTENT[:-1], CONTENT[:-1] + b"x", b""])
def test_a_damaged_cached_file_is_replaced(empty_cache: Path, server: Server, damage: bytes) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT))
    place = store.path(asset)
    place.write_bytes(damage)
    os.utime(place, ns=(time.time_ns(), time.time_ns() + 1))
    assert store.path(asset).read_bytes() == CONTENT
    assert len(server.requests) == 2


def test_a_damaged_cached_file_is_named_offline(
    empty_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    asset = asset_of(CONTENT, server.serve("/thing", CONTENT))
    place = cache.file_of(asset)
    place.parent.mkdir(parents=True)
    place.write_bytes(CONTENT[::-1])
    monkeypatch.setenv("OPENAU_OFFLINE", "1")
    with pytest.raises(WeightsError, match=r"damaged .*SHA-256.*OPENAU_OFFLINE"):
        store.path(asset)
    assert place.exists()


def test_a_cache_that_cannot_be_made_is_one_sentence(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("OPENAU_CACHE", str(tmp_path / "file" / "cache"))
    monkeypatch.delenv("OPENAU_OFFLINE", raising=False)
    with pytest.raises(WeightsError, match=r"cannot write to the weight cache .*OPENAU_CACHE"):
        store.path(asset_of(CONTENT, server.serve("/thing", CONTENT)))


FETCH = """
import sys
from openau.weights import store
from openau.weights.cards import Asset, Url
name, sha256, size, url = sys.argv[1:]
print(store.path(Asset(name, sha256, int(size), "MIT", "test", (Url(url),))))
"""


def fetch_in_new_process(asset: Asset) -> subprocess.Popen[str]:
    source = asset.sources[0]
    assert isinstance(source, Url)
    command = [sys.executable, "-c", FETCH, asset.name, asset.sha256, str(asset.size), source.url]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_processes_may_fetch_at_once(empty_cache: Path, server: Server) -> None:
    content = os.urandom(5 << 20)
    asset = asset_of(content, server.serve("/thing", content, seconds=1.0))
    processes = [fetch_in_new_process(asset) for _ in range(4)]
    places = {process.communicate(timeout=60)[0].strip() for process in processes}
    assert [process.returncode for process in processes] == [0] * 4
    assert len(places) == 1
    assert hashlib.sha256(Path(places.pop()).read_bytes()).hexdigest() == asset.sha256
    assert server.requests == ["/thing"]


@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is POSIX")
def test_a_killed_fetch_leaves_nothing_that_counts(empty_cache: Path, server: Server) -> None:
    content = os.urandom(2 << 20)
    asset = asset_of(content, server.serve("/thing", content, seconds=3.0))
    victim = fetch_in_new_process(asset)
    deadline = time.monotonic() + 20
    while not server.bytes_sent and time.monotonic() < deadline:
        time.sleep(0.02)
    victim.send_signal(signal.SIGKILL)
    victim.communicate()
    assert not cache.file_of(asset).exists()
    server.pages["/thing"].seconds = 0
    # The dead process' lock must not hold up the next one.
    assert store.path(asset).read_bytes() == content


def test_the_hub_is_an_address_of_repository_and_revision(
    empty_cache: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    server.serve("/openau/models/resolve/abc123/sub/a.onnx", CONTENT)
    asset = asset_of(CONTENT, HubFile("openau/models", "abc123", "sub/a.onnx"))
    assert store.path(asset).read_bytes() == CONTENT


def test_a_packaged_file_is_checked_too(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "FILES", tmp_path)
    asset = asset_of(CONTENT, Packaged("thing.bin"))
    with pytest.raises(WeightsError, match=r"thing\.bin: the file is missing; install"):
        store.path(asset)
    (tmp_path / "thing.bin").write_bytes(CONTENT)
    assert store.path(asset) == tmp_path / "thing.bin"
    (tmp_path / "thing.bin").write_bytes(CONTENT + b"x")
    with pytest.raises(WeightsError, match=r"thing\.bin: it has 256,001 bytes"):
        store.path(asset)


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_the_default_cache_is_the_platforms(platform: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("OPENAU_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "relative/is/ignored")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path / "Local"))
    monkeypatch.setattr(sys, "platform", platform)
    expected = {
        "linux": Path.home() / ".cache" / "openau",
        "darwin": Path.home() / "Library" / "Caches" / "openau",
        "win32": tmp_path / "Local" / "openau" / "Cache",
    }
    assert cache.folder() == expected[platform]


# Models ---------------------------------------------------------------------------------------------------------------


def write_model(folder: Path, name: str, content: bytes = CONTENT) -> Path:
    """A user's model: content that stands for an ONNX file, and its card."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.onnx"
    file.write_bytes(content)
    asset = asset_of(content, Packaged(file.name), name=name)
    (folder / f"{name}.json").write_text(make_card(name, asset=asset).to_json(), encoding="utf-8")
    return file


def test_a_users_model_is_found_by_name(empty_cache: Path) -> None:
    file = write_model(store.user_models(), "tiny.mine")
    card, found = store.resolve_model("tiny.mine")
    assert (card.name, found) == ("tiny.mine", file)
    assert store.path("tiny.mine") == file
    assert "tiny.mine" in [card.name for card in store.cards()]


def test_a_model_is_found_by_its_path(tmp_path: Path) -> None:
    file = write_model(tmp_path / "elsewhere", "tiny.mine")
    assert store.resolve_model(str(file))[1] == file
    assert store.resolve_model(file)[0].aus == (1, 12, 25)


def test_default_is_an_alias(empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(store, "FILES", tmp_path / "files")
    file = write_model(tmp_path / "files", "fantrans_facemesh.synth")
    assert store.resolve_model("default")[1] == file
    assert store.card("default").name == store.DEFAULT_MODEL == "fantrans_facemesh.synth"


def test_an_unknown_model_lists_those_there_are(
    empty_cache: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(store, "FILES", tmp_path / "files")
    write_model(store.user_models(), "tiny.mine")
    with pytest.raises(UsageError, match=r"no model is called 'tiny\.nine'; known: tiny\.mine; or give the path"):
        store.resolve_model("tiny.nine")
    write_model(tmp_path / "files", "fantrans_facemesh.synth")
    with pytest.raises(UsageError, match=r"known: fantrans_facemesh\.synth, tiny\.mine, default; or"):
        store.resolve_model("tiny.nine")
    with pytest.raises(UsageError, match=r"no file is called 'face_mash'; there are .*face_mesh"):
        store.path("face_mash")


def test_a_model_whose_bytes_changed_is_refused(tmp_path: Path) -> None:
    file = write_model(tmp_path, "tiny.mine")
    file.write_bytes(CONTENT[::-1])
    with pytest.raises(WeightsError, match=r"tiny\.mine\.onnx: not the model its card tiny\.mine\.json describes"):
        store.resolve_model(file)


def test_missing_parts_of_a_model_are_named(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"gone\.onnx: there is no such model file"):
        store.resolve_model(tmp_path / "gone.onnx")
    (tmp_path / "bare.onnx").write_bytes(CONTENT)
    with pytest.raises(WeightsError, match=r"bare\.onnx: its card bare\.json is not beside it; `openau export`"):
        store.resolve_model(tmp_path / "bare.onnx")


def test_a_card_must_be_called_like_its_file(empty_cache: Path) -> None:
    write_model(store.user_models(), "tiny.mine")
    (store.user_models() / "tiny.mine.json").rename(store.user_models() / "tiny.yours.json")
    with pytest.raises(WeightsError, match=r"tiny\.yours\.json: the card is called 'tiny\.mine'"):
        store.card("tiny.yours")


def test_every_shipped_card_is_valid_and_its_file_right() -> None:
    models, extractors, backbones = (
        {name: file for name, file in found.items() if file.parent == store.FILES}
        for found in (store.card_files(), store.extractor_files(), store.backbone_files())
    )
    assert len(models) + len(extractors) + len(backbones) == len(list(store.FILES.glob("*.json")))
    packaged = [name for name in backbones if (store.FILES / f"{name}.safetensors").is_file()]
    shipped = [*map(store.resolve_model, models), *map(store.resolve_extractor, extractors)]
    assert len(shipped) == len(list(store.FILES.glob("*.onnx")))
    shipped += [(store.backbone(name), store.path(name)) for name in packaged]
    # A model's learnable part may lie beside its graph, to be adapted.
    learned = [name for name in models if (store.FILES / f"{name}.safetensors").is_file()]
    assert len(packaged) + len(learned) == len(list(store.FILES.glob("*.safetensors")))
    for card, file in shipped:
        assert file.parent == store.FILES
        assert hashlib.sha256(file.read_bytes()).hexdigest() == card.asset.sha256


# Files made on this machine -------------------------------------------------------------------------------------------


@pytest.fixture
def packed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small file of arrays, which the store is told to expect as the ICT rig."""
    file = tmp_path / "packed.npz"
    np.savez_compressed(file, neutral=np.arange(6, dtype="f4").reshape(2, 3), names=np.array(["a", "bc"]))
    monkeypatch.setattr(store, "ICT_FACEKIT", replace(assets.ICT_FACEKIT, arrays=array_hashes(file)))
    return file


def test_the_rig_is_missing_until_it_is_put(empty_cache: Path, packed: Path) -> None:
    with pytest.raises(WeightsError, match=r"run `openau fetch ict_facekit` .*openau synth pack-ict CHECKOUT"):
        store.path("ict_facekit")
    place = store.put("ict_facekit", packed)
    assert store.path("ict_facekit") == place == empty_cache / "ict_facekit_light.npz"


def test_compression_does_not_matter_but_values_do(empty_cache: Path, packed: Path, tmp_path: Path) -> None:
    with np.load(packed) as arrays:
        content = dict(arrays)
    np.savez(tmp_path / "plain.npz", **content)
    store.put("ict_facekit", tmp_path / "plain.npz")
    content["neutral"][1, 2] += 1e-6 * 5
    np.savez(tmp_path / "other.npz", **content)
    with pytest.raises(WeightsError, match=r"other\.npz: not ict_facekit: it has other values in the array 'neutral'"):
        store.put("ict_facekit", tmp_path / "other.npz")
    np.savez(tmp_path / "less.npz", neutral=content["neutral"])
    with pytest.raises(WeightsError, match=r"less\.npz: not ict_facekit: it lacks the array 'names'"):
        store.put("ict_facekit", tmp_path / "less.npz")


def test_a_variable_points_to_the_rig(empty_cache: Path, packed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAU_ICT", str(packed))
    assert store.path("ict_facekit") == packed
    monkeypatch.setenv("OPENAU_ICT", str(packed) + ".gone")
    with pytest.raises(WeightsError, match=r"packed\.npz\.gone: there is no such file"):
        store.path("ict_facekit")


def test_objects_and_damage_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "objects.npz", a=np.array([{}, None], dtype=object))
    (tmp_path / "text.npz").write_text("hello")
    np.savez_compressed(tmp_path / "cut.npz", a=np.random.default_rng(0).random(1000))
    (tmp_path / "cut.npz").write_bytes((tmp_path / "cut.npz").read_bytes()[:4000])
    np.save(tmp_path / "single.npz.npy", np.zeros(3))
    (tmp_path / "single.npz.npy").rename(tmp_path / "single.npz")
    for name in ("objects", "text", "cut", "single"):
        with pytest.raises(WeightsError, match=rf"{name}\.npz: not a file of arrays"):
            array_hashes(tmp_path / f"{name}.npz")


def test_array_digests_are_those_documented(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.asfortranarray(np.array([[1, 2], [3, 4]], dtype="<i2")))
    by_hand = hashlib.sha256(b"<i2 (2, 2)\n" + bytes([1, 0, 2, 0, 3, 0, 4, 0])).hexdigest()
    assert array_hashes(tmp_path / "a.npz") == {"a": by_hand}


def test_put_checks_an_asset_like_a_download(empty_cache: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.tflite").write_bytes(b"x" * 1_242_398)
    with pytest.raises(WeightsError, match=r"mine\.tflite: not face_mesh: its SHA-256"):
        store.put("face_mesh", tmp_path / "mine.tflite")
    with pytest.raises(UsageError, match="no file is called 'face_mash'"):
        store.put("face_mash", tmp_path / "mine.tflite")


@pytest.mark.weights
@pytest.mark.parametrize(("name", "magic", "at"), [("blazeface_full_range", b"TFL3", 4), ("face_mesh", b"TFL3", 4)])
def test_the_face_networks_are_what_they_say(name: str, magic: bytes, at: int) -> None:
    content = store.path(name).read_bytes()
    assert content[at : at + len(magic)] == magic
    assert hashlib.sha256(content).hexdigest() == assets.ASSETS[name].sha256


def test_a_checkpoint_lies_beside_its_model(empty_cache: Path, tmp_path: Path) -> None:
    folder = store.user_models()
    folder.mkdir(parents=True)
    (folder / "tiny.test.json").write_text(make_card().to_json())
    with pytest.raises(
        WeightsError, match=r"tiny\.test: comes without a checkpoint \(tiny\.test\.safetensors beside it\)"
    ):
        store.resolve_checkpoint("tiny.test")
    (folder / "tiny.test.safetensors").touch()
    assert store.resolve_checkpoint("tiny.test") == folder / "tiny.test.safetensors"
    with pytest.raises(UsageError, match="no model is called 'tinny'"):
        store.resolve_checkpoint("tinny")
    for name in ("a.onnx", "a.safetensors"):
        with pytest.raises(WeightsError, match=rf"{name}: there is no such (model|checkpoint) file"):
            store.resolve_checkpoint(str(tmp_path / name))
        (tmp_path / name).touch()
    for name in (tmp_path / "a.onnx", str(tmp_path / "a.safetensors")):
        assert store.resolve_checkpoint(name) == tmp_path / "a.safetensors"


def test_without_a_home_folder_the_cache_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAU_CACHE", "XDG_CACHE_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", _no_home)
    with pytest.raises(WeightsError, match="set OPENAU_CACHE"):
        cache.folder()
    monkeypatch.setenv("OPENAU_CACHE", "~nobody/cache")
    assert cache.folder() == Path("~nobody/cache").absolute()


def _no_home(path: Path) -> Path:
    raise RuntimeError("Could not determine home directory.")
