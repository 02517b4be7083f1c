from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest
from served import Server

from openau.errors import WeightsError
from openau.weights import archive


def tarball(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    """A `.tar.gz` with these files and symbolic links."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for name, content in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name, target in (links or {}).items():
            entry = tarfile.TarInfo(name)
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            tar.addfile(entry)
    return out.getvalue()


def test_the_tree_is_unpacked_without_its_top_folder(server: Server, tmp_path: Path) -> None:
    body = tarball({"kit-abc/LICENSE": b"MIT", "kit-abc/model/a.obj": b"v 0 0 0\n" * 100_000})
    tree = archive.fetch_tree(server.serve("/kit.tar.gz", body), tmp_path / "kit", "kit", len(body))
    assert (tree / "LICENSE").read_bytes() == b"MIT"
    assert (tree / "model" / "a.obj").read_bytes() == b"v 0 0 0\n" * 100_000


def test_nothing_is_written_outside(server: Server, tmp_path: Path) -> None:
    body = tarball(
        {"kit/../../evil1": b"x", "kit//etc/evil2": b"x", "/abs/evil3": b"x", "kit/C:\\evil4": b"x", "kit/ok": b"y"},
        {"kit/link": "/etc/passwd"},
    )
    archive.fetch_tree(server.serve("/kit.tar.gz", body), tmp_path / "sub" / "kit", "kit", 1)
    written = sorted(str(p.relative_to(tmp_path)) for p in tmp_path.rglob("*") if p.is_file() or p.is_symlink())
    assert set(written) <= {"sub/kit/ok", "sub/kit/etc/evil2", "sub/kit/abs/evil3", "sub/kit/evil3"}
    assert "sub/kit/ok" in written


def test_too_large_a_tree_is_refused(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MAX_TREE", 1 << 20)
    body = tarball({"kit/zeros": bytes(1 << 21)})
    with pytest.raises(WeightsError, match="more than 1,048,576 bytes"):
        archive.fetch_tree(server.serve("/kit.tar.gz", body), tmp_path / "kit", "kit", 1)
    assert not (tmp_path / "kit").exists()


@pytest.mark.parametrize("body", [b"", b"hello", tarball({"kit/a": bytes(range(256)) * 5000})[:2000]])
def test_a_damaged_archive_is_one_sentence(server: Server, tmp_path: Path, body: bytes) -> None:
    with pytest.raises(WeightsError, match=r"kit\.tar\.gz"):
        archive.fetch_tree(server.serve("/kit.tar.gz", body), tmp_path / "kit", "kit", 1)
