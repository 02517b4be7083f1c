"""PyTorch's files are read exactly and without unpickling: what would run on unpickling is refused and has not run."""

from __future__ import annotations

import contextlib
import os
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from openau.errors import WeightsError
from openau.weights.torch_archive import read_tensors


class Inner(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm = torch.nn.BatchNorm2d(3)
        self.conv = torch.nn.Conv2d(3, 4, 3)
        self.register_buffer("halved", torch.arange(6).half().reshape(2, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(self.norm(x)).sum() + self.halved.sum()


class Outer(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = Inner()
        self.scale = torch.nn.Parameter(torch.randn(2).t())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(x) * self.scale.sum()


def save_new(model: torch.nn.Module, file: Path) -> None:
    torch.save(model.state_dict(), file)


def save_old(model: torch.nn.Module, file: Path) -> None:
    torch.save(model.state_dict(), file, _use_new_zipfile_serialization=False)


def save_wrapped(model: torch.nn.Module, file: Path) -> None:
    state = {f"module.{name}": tensor for name, tensor in model.state_dict().items()}
    torch.save({"epoch": 3, "best": 0.5, "arch": "fan", "state_dict": state, "done": [True, None]}, file)


def save_script(model: torch.nn.Module, file: Path) -> None:
    torch.jit.script(model.eval()).save(str(file))


def save_parameters(model: torch.nn.Module, file: Path) -> None:
    torch.save(OrderedDict(model.state_dict(keep_vars=True)), file)


@pytest.mark.parametrize("save", [save_new, save_old, save_wrapped, save_script, save_parameters])
@pytest.mark.filterwarnings("ignore")
def test_tensors_are_read_as_they_were_saved(save: Callable[[Any, Path], None], tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Outer()
    save(model, tmp_path / "file")
    found = read_tensors(tmp_path / "file")
    assert set(found) == set(model.state_dict())
    for name, tensor in model.state_dict().items():
        assert found[name].dtype == tensor.numpy().dtype
        np.testing.assert_array_equal(found[name], tensor.numpy())


def test_views_share_numbers(tmp_path: Path) -> None:
    whole = torch.arange(24.0).reshape(4, 6)
    torch.save(
        {"turned": whole.t(), "part": whole[1:3, ::2], "empty": torch.zeros(0, 3), "one": torch.tensor(7)},
        tmp_path / "f",
    )
    found = read_tensors(tmp_path / "f")
    np.testing.assert_array_equal(found["turned"], whole.t().numpy())
    np.testing.assert_array_equal(found["part"], [[6, 8, 10], [12, 14, 16]])
    assert found["empty"].shape == (0, 3)
    assert found["one"] == 7


class Attack:
    """Unpickling this makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.mark),)


def archive(file: Path, structure: bytes, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as out:
        out.writestr("x/data.pkl", structure)
        for name, content in members.items():
            out.writestr(f"x/data/{name}", content)
    return file


def malicious(kind: str, folder: Path, mark: Path) -> Path:
    attack = Attack(mark)
    if kind == "zip":
        torch.save({"conv1.weight": torch.zeros(2), "x": attack}, folder / "a.pth")
    elif kind == "old":
        torch.save({"x": attack}, folder / "a.pth", _use_new_zipfile_serialization=False)
    elif kind == "old, in its header":
        (folder / "a.pth").write_bytes(pickle.dumps(attack, protocol=2))
    else:
        # A TorchScript module that builds its attributes by a call.
        script = (
            b"\x80\x02c__torch__.M\nM\nq\x00)\x81}X\x01\x00\x00\x00w" + pickle.dumps(attack, protocol=2)[2:-1] + b"sb."
        )
        archive(folder / "a.pth", script)
    return folder / "a.pth"


@pytest.mark.parametrize("kind", ["zip", "old", "old, in its header", "script"])
def test_a_malicious_file_is_refused_and_nothing_runs(kind: str, tmp_path: Path) -> None:
    mark = tmp_path / "was_run"
    file = malicious(kind, tmp_path, mark)
    with pytest.raises(WeightsError, match=r"refused: it names (posix|nt)\.mkdir.*nothing of it was run"):
        read_tensors(file)
    assert not mark.exists()
    # The same bytes do run where they are unpickled, so this is an attack and not merely a broken file.
    if kind == "old, in its header":
        pickle.loads(file.read_bytes())
        assert mark.exists()


@pytest.mark.parametrize(
    "name",
    ["builtins eval", "builtins getattr", "torch._utils _rebuild_sparse_tensor", "collections Counter", "torch load"],
)
def test_only_what_tensors_need_may_be_named(name: str, tmp_path: Path) -> None:
    module, function = name.split()
    file = archive(tmp_path / "f", f"\x80\x02c{module}\n{function}\n.".encode("latin1"))
    with pytest.raises(WeightsError, match=f"it names {module}.{function}"):
        read_tensors(file)


def tensor(size: bytes, stride: bytes, offset: bytes = b"K\x00", count: bytes = b"K\x04") -> bytes:
    """{'w': a tensor} with its numbers in `data/0`."""
    storage = b"((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000X\x03\x00\x00\x00cpu" + count + b"tQ"
    return (
        b"\x80\x02}X\x01\x00\x00\x00wctorch._utils\n_rebuild_tensor_v2\n" + storage + offset + size + stride
        + b"\x89ccollections\nOrderedDict\n)RtRs."
    )  # fmt: skip


NUMBERS = struct.pack("<4f", 1, 2, 3, 4)


def test_a_tensor_written_by_hand(tmp_path: Path) -> None:
    file = archive(tmp_path / "f", tensor(b"K\x02K\x02\x86", b"K\x02K\x01\x86"), **{"0": NUMBERS})
    np.testing.assert_array_equal(read_tensors(file)["w"], [[1, 2], [3, 4]])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ((b"K\x02K\x03\x86", b"K\x02K\x01\x86"), "reaches beyond"),
        ((b"K\x02K\x02\x86", b"K\x02K\x01\x86", b"K\x01"), "reaches beyond"),
        ((b"J\xff\xff\xff\x7fK\x02\x86", b"K\x00K\x00\x86"), "more elements than numbers"),
        ((b"K\x02K\x02\x86", b"J\xff\xff\xff\xffK\x01\x86"), "reaches beyond"),
        ((b"K\x02K\x02\x86", b"K\x02K\x01\x86", b"K\x00", b"K\x09"), "cut short"),
        ((b"K\x02\x88\x86", b"K\x02K\x01\x86"), "not known"),
    ],
)
def test_impossible_tensors_are_refused(parts: tuple[bytes, ...], said: str, tmp_path: Path) -> None:
    file = archive(tmp_path / "f", tensor(*parts), **{"0": NUMBERS})
    with pytest.raises(WeightsError, match=said):
        read_tensors(file)


@pytest.mark.parametrize(
    "content", [b"", b"hello", b"\x80\x02", pickle.dumps({"a": 1}, protocol=2), pickle.dumps([1.5], protocol=4)]
)
def test_other_files_are_no_checkpoints(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(content)
    with pytest.raises(WeightsError, match="no PyTorch checkpoint, or damaged"):
        read_tensors(tmp_path / "f")


def test_cut_and_changed_files_never_raise_anything_else(tmp_path: Path) -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    for save in (save_new, save_old):
        save(Outer(), tmp_path / "whole")
        whole = (tmp_path / "whole").read_bytes()
        for _ in range(150):
            changed = bytearray(whole)
            for place in rng.integers(0, len(whole), 4):
                changed[place] = int(rng.integers(0, 256))
            (tmp_path / "f").write_bytes(
                changed[: int(rng.integers(1, len(whole) + 1))] if rng.random() < 0.5 else changed
            )
            with contextlib.suppress(WeightsError):
                read_tensors(tmp_path / "f")


def test_structures_without_end_are_refused(tmp_path: Path) -> None:
    itself = archive(tmp_path / "itself", b"\x80\x02}q\x00X\x01\x00\x00\x00ah\x00s.")
    doubled: dict[str, Any] = {}
    for _ in range(40):  # 40 small dictionaries, 2^40 ways through them
        doubled = {"a": doubled, "b": doubled}
    for file in (itself, archive(tmp_path / "doubled", pickle.dumps(doubled, protocol=2))):
        with pytest.raises(WeightsError, match="without end"):
            read_tensors(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="cannot be read: no such file"):
        read_tensors(tmp_path / "none.pth")
