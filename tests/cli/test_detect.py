"""`openau detect` as a user runs it: in its own process, on good and bad input."""

from __future__ import annotations

import csv
import json
import os
import resource
import shutil
import signal
import struct
import subprocess
import sys
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from random_model import write_model

pytestmark = pytest.mark.weights

Run = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def detect(model: Path, tmp_path: Path) -> Run:
    """Run `openau detect … --model <random>` in the test's own folder."""

    def run(*arguments: str | Path, **options: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "openau", "detect", *map(str, arguments), "--model", str(model)]
        return subprocess.run(
            command,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
            **options,  # type: ignore[call-overload]
        )

    return run


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def complaints(done: subprocess.CompletedProcess[str]) -> list[str]:
    assert "Traceback" not in done.stderr, done.stderr
    return [line.removeprefix("openau: ") for line in done.stderr.splitlines() if line.startswith("openau: ")]


def bomb() -> bytes:
    """A PNG whose header says 60,000 × 60,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


def cut_video(folder: Path, media: Path) -> Path:
    """one.mp4 with its index in front, cut in the middle."""
    front = folder / "front.mp4.tmp"
    with (
        av.open(str(media / "one.mp4")) as source,
        av.open(str(front), "w", format="mp4", options={"movflags": "faststart"}) as out,
    ):
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    content = front.read_bytes()
    front.unlink()
    path = folder / "cut.mp4"
    path.write_bytes(content[: len(content) * 6 // 10])
    return path


def audio_only(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        stream = out.add_stream("aac", rate=16_000)
        for block in range(20):
            sound = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            sound.sample_rate, sound.pts = 16_000, block * 1024
            out.mux(stream.encode(sound))
        out.mux(stream.encode())
    return path


def test_every_bad_input_is_one_sentence_and_the_rest_is_done(detect: Run, media: Path, tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    shutil.copy(media / "one.png", good)
    Image.open(good).save(tmp_path / "whole.jpg")
    (tmp_path / "text.jpg").write_text("this is not an image")
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "whole.jpg").read_bytes()[:9000])
    (tmp_path / "cut.png").write_bytes(good.read_bytes()[: good.stat().st_size // 2])
    (tmp_path / "empty.jpg").write_bytes(b"")
    (tmp_path / "empty.mp4").write_bytes(b"")
    (tmp_path / "bomb.png").write_bytes(bomb())
    (tmp_path / "x.jpg").mkdir()
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    audio_only(tmp_path / "sound.mp4")
    cut_video(tmp_path, media)
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    pictures = [Image.open(media / name) for name in ("one.png", "wall.png")]
    pictures[0].save(tmp_path / "moving.gif", save_all=True, append_images=pictures[1:], duration=200)
    expected = {
        "text.jpg": "not an image", "cut.jpg": "truncated", "cut.png": "truncated", "empty.jpg": "empty",
        "empty.mp4": "empty", "bomb.png": "3,600 megapixels", "x.jpg": "folder", "noise.mp4": "not a video",
        "sound.mp4": "no video stream", "missing.png": "no such file", "none*.png": "nothing matches",
    }  # fmt: skip
    names = [*expected, "cut.mp4", "dot.png", "moving.gif", "good.png"]
    done = detect(*names, "-o", "all.csv")
    assert done.returncode == 1
    said = complaints(done)
    assert len(said) == len(expected) + 1
    for name, reason in expected.items():
        sentence = next(line for line in said if line.startswith(f"{name}:"))
        assert reason in sentence, sentence
    cut = next(line for line in said if line.startswith("cut.mp4:"))
    assert "truncated" in cut
    assert "are in all.csv; run again with --resume" in cut
    table = rows(tmp_path / "all.csv")
    assert list(dict.fromkeys(row["source"] for row in table)) == ["cut.mp4", "dot.png", "moving.gif", "good.png"]
    (dot,) = [row for row in table if row["source"] == "dot.png"]
    assert dot["frame"] == "0"
    assert set(list(dot.values())[3:]) == {""}
    gif = [row for row in table if row["source"] == "moving.gif"]
    assert [(row["frame"], float(row["timestamp"]), row["face_id"]) for row in gif] == [("0", 0.0, "0"), ("1", 0.2, "")]
    frames = [int(row["frame"]) for row in table if row["source"] == "cut.mp4"]
    assert frames == list(range(len(frames)))
    assert 2 < len(frames) < 24
    assert f"the {len(frames)} frames before" in cut
    assert "3 of 15 inputs done; 12 failed" in done.stderr
    left = {p.name for p in tmp_path.iterdir()}
    assert {name for name in left if "partial" in name or "tmp" in name or name.endswith(".resume")} == set()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_an_unreadable_file(detect: Run, media: Path, tmp_path: Path) -> None:
    shutil.copy(media / "one.png", tmp_path / "a.png")
    (tmp_path / "a.png").chmod(0)
    done = detect("a.png")
    assert done.returncode == 1
    assert "a.png" in complaints(done)[0]


def test_an_image_prints_a_table(detect: Run, media: Path, tmp_path: Path) -> None:
    done = detect(media / "two.png")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert sum("lip corner puller" in line for line in lines) == 2
    order = [int(line.split("AU")[1].split()[0]) for line in lines if " AU" in line and "Action" not in line]
    assert order[:12] == sorted(order[:12])
    assert "yaw" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert "no face found" in detect(media / "wall.png").stdout


def test_a_video_writes_its_table_here(detect: Run, media: Path, tmp_path: Path) -> None:
    assert detect(media / "one.mp4").returncode == 0
    assert [p.name for p in tmp_path.iterdir()] == ["one_aus.csv"]
    assert [row["frame"] for row in rows(tmp_path / "one_aus.csv")] == [str(i) for i in range(24)]


def test_a_part_of_a_video_is_those_rows_of_the_whole(detect: Run, media: Path, tmp_path: Path) -> None:
    assert detect(media / "one.mp4", "-o", "whole.csv").returncode == 0
    done = detect(media / "one.mp4", "-o", "part.csv", "--start", "0.2", "--end", "0:00.6")
    assert done.returncode == 0, done.stderr
    wanted = [row for row in rows(tmp_path / "whole.csv") if 0.2 <= float(row["timestamp"]) < 0.6]
    part = rows(tmp_path / "part.csv")
    assert [(row["frame"], row["timestamp"]) for row in part] == [(row["frame"], row["timestamp"]) for row in wanted]


def test_formats_hold_the_same_faces(detect: Run, media: Path, tmp_path: Path) -> None:
    for name in ("t.csv", "t.parquet", "t.jsonl"):
        assert detect(media, "-o", name).returncode == 0
    table = rows(tmp_path / "t.csv")
    parquet = pq.read_table(tmp_path / "t.parquet").to_pylist()
    lines = [json.loads(line) for line in (tmp_path / "t.jsonl").read_text().splitlines()]
    assert len(table) == len(parquet) == len(lines) == 24 + 1 + (17 * 2 + 3) + 2 + 1
    for a, b, c in zip(table, parquet, lines, strict=True):
        assert list(a) == list(b) == list(c)
        for name in a:
            if name == "source":
                assert a[name] == b[name] == c[name]
            elif a[name] == "":
                assert b[name] is None
                assert c[name] is None
            else:
                assert b[name] == pytest.approx(float(a[name]), rel=1e-6, abs=1e-6)
                assert c[name] == pytest.approx(float(a[name]), rel=1e-6, abs=1e-6)


def test_a_folder_gets_a_table_per_source_and_an_index(detect: Run, media: Path, tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    for name in ("one.png", "one.mp4"):
        shutil.copy(media / name, tmp_path / "in" / name)
    (tmp_path / "in" / "broken.jpg").write_text("no")
    (tmp_path / "in" / "notes.txt").write_text("skipped")
    done = detect("in", "-o", "out", "--overlay", "seen")
    assert done.returncode == 1
    index = {Path(row["source"]).name: row for row in rows(tmp_path / "out" / "index.csv")}
    assert {name: row["status"] for name, row in index.items()} == {
        "broken.jpg": "failed", "one.mp4": "ok", "one.png": "ok",
    }  # fmt: skip
    assert (index["one.mp4"]["frames"], index["one.mp4"]["faces"], float(index["one.mp4"]["seconds"])) == (
        "24",
        "24",
        0.92,
    )
    assert "not an image" in index["broken.jpg"]["message"]
    assert index["broken.jpg"]["output"] == ""
    assert len(rows(tmp_path / "out" / index["one.mp4"]["output"])) == 24
    assert len(rows(tmp_path / "out" / index["one.png"]["output"])) == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {
        "columns.json", "index.csv", "one.csv", "one_png.csv",
    }  # fmt: skip
    assert {p.name for p in (tmp_path / "seen").iterdir()} == {"one_overlay.mp4", "one_overlay.png"}
    # The broken file is replaced; only it is read again.
    before = (tmp_path / "out" / "one.csv").stat().st_mtime_ns
    shutil.copy(media / "two.png", tmp_path / "in" / "broken.jpg")
    done = detect("in", "-o", "out", "--resume")
    assert done.returncode == 0
    assert (tmp_path / "out" / "one.csv").stat().st_mtime_ns == before
    assert len(rows(tmp_path / "out" / "broken.csv")) == 2
    assert "2 finished before" in done.stderr


def test_openface_format(detect: Run, media: Path, tmp_path: Path) -> None:
    assert detect(media / "two.mp4", "-o", "t.csv", "--format", "openface").returncode == 0
    table = rows(tmp_path / "t.csv")
    assert len(table[0]) == 714
    assert [row["frame"] for row in table[:4]] == ["1", "1", "2", "2"]
    assert {row["success"] for row in table} == {"0", "1"}
    refused = detect(media, "-o", "t2.csv", "--format", "openface")
    assert refused.returncode == 2
    assert "no column for the source" in complaints(refused)[0]
    assert not (tmp_path / "t2.csv").exists()


def test_overlay_of_a_picture_and_a_video(detect: Run, media: Path, tmp_path: Path) -> None:
    assert detect(media / "two.png", "--overlay", "seen.png").returncode == 0
    with Image.open(tmp_path / "seen.png") as seen, Image.open(media / "two.png") as original:
        assert seen.size == original.size
        assert np.abs(np.asarray(seen).astype(int) - np.asarray(original)).max() > 50
    assert detect(media / "two.mp4", "-o", "t.csv", "--overlay", "seen.mp4").returncode == 0
    with av.open(str(tmp_path / "seen.mp4")) as seen, av.open(str(media / "two.mp4")) as original:
        ours, theirs = (list(video.decode(video=0)) for video in (seen, original))
    assert [(f.width, f.height) for f in ours] == [(f.width, f.height) for f in theirs]
    np.testing.assert_allclose([f.time for f in ours], [f.time for f in theirs], atol=1e-3)
    wrong = detect(media / "two.mp4", "-o", "t.csv", "--overlay", "seen.png")
    assert wrong.returncode == 2
    assert ".mp4" in complaints(wrong)[0]


def test_calibrate_writes_the_same_rows_with_other_probabilities(detect: Run, media: Path, tmp_path: Path) -> None:
    from clips import write_clip

    clip = write_clip(tmp_path / "long.mp4", 60, width=320, height=240)
    assert detect(clip, "-o", "plain.csv").returncode == 0
    assert detect(clip, "-o", "own.csv", "--calibrate", "--overlay", "seen.mp4").returncode == 0
    plain, own = rows(tmp_path / "plain.csv"), rows(tmp_path / "own.csv")
    for a, b in zip(plain, own, strict=True):
        assert [a[c] for c in ("frame", "timestamp", "face_id", "x", "yaw")] == [
            b[c] for c in ("frame", "timestamp", "face_id", "x", "yaw")
        ]

    def logit(table: list[dict[str, str]], name: str) -> np.ndarray:
        p = np.array([float(row[name]) for row in table])
        return np.log(p / (1 - p))

    # The random model sees AU25 on this face all the time: its resting value moves to the model's usual -2.
    assert logit(plain, "AU25").min() > 0
    assert np.quantile(logit(own, "AU25"), 0.15) == pytest.approx(-2, abs=0.02)
    shift = logit(own, "AU25") - logit(plain, "AU25")
    np.testing.assert_allclose(shift, shift.mean(), atol=0.02)
    with av.open(str(tmp_path / "seen.mp4")) as seen:
        assert len(list(seen.decode(video=0))) == 60


def test_usage_errors_name_what_is_wrong(detect: Run, openau: Run, media: Path, tmp_path: Path) -> None:
    picture = media / "one.png"
    for arguments, reason in (
        ((picture, "-o", "t.xlsx"), ".csv"),
        ((picture, "-o", "t.csv", "--format", "parquet"), "suffix says csv"),
        ((picture, "-o", "t.csv", "--format", "excel"), "openface"),
        ((picture, picture.with_name("two.png"), "--overlay", "one.png"), "folder"),
        ((media / "one.mp4", "--start", "soon"), "no time in a video"),
        ((media / "one.mp4", "--start", "5", "--end", "0:02"), "is empty"),
    ):
        done = detect(*arguments)
        assert done.returncode == 2, done.stderr
        assert reason in complaints(done)[0]
    assert detect().returncode == 2
    wrong = openau("detect", picture, "--model", "nonsense")
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "nonsense" in complaints(wrong)[0]
    assert list(tmp_path.iterdir()) == []


def test_a_model_that_is_not_the_promised_one(openau: Run, media: Path, tmp_path: Path) -> None:
    file = write_model(tmp_path)
    file.write_bytes(file.read_bytes() + b"\0")
    done = openau("detect", media / "one.png", "--model", file)
    assert done.returncode == 1
    (sentence,) = complaints(done)
    assert "linear.random.onnx" in sentence


def test_where_nothing_can_be_written(detect: Run, media: Path, tmp_path: Path) -> None:
    done = detect(media / "one.png", "-o", "no/such/t.csv")
    assert done.returncode == 1
    assert "no/such/t.csv: cannot be written, the folder no/such does not exist" in complaints(done)[0]
    done = detect(media / "one.png", "--overlay", "no/seen.png")
    assert done.returncode == 1
    assert "does not exist" in complaints(done)[0]
    (tmp_path / "t.csv").mkdir()
    assert detect(media / "one.png", "-o", "t.csv").returncode == 0  # a folder that exists, whatever its name
    assert (tmp_path / "t.csv" / "index.csv").is_file()


def test_a_full_disk_keeps_what_was_finished(detect: Run, media: Path, tmp_path: Path) -> None:
    """A limit on the size of files stands for the full disk."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3000, 3000))

    done = detect(media / "one.png", media / "one.mp4", "-o", "t.csv", preexec_fn=limit)
    assert done.returncode == 1
    (sentence,) = complaints(done)
    assert "t.csv: cannot be written: file too large" in sentence
    assert "--resume" in sentence
    assert not (tmp_path / "t.csv").exists()
    assert detect(media / "one.png", media / "one.mp4", "-o", "t.csv", "--resume").returncode == 0
    assert detect(media / "one.png", media / "one.mp4", "-o", "whole.csv").returncode == 0
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize("name", ["t.csv", "t.parquet"])
def test_resume_after_kill_9_gives_the_same_bytes(
    detect: Run, model: Path, media: Path, tmp_path: Path, name: str
) -> None:
    for copy in range(6):
        shutil.copy(media / "one.mp4", tmp_path / f"clip{copy}.mp4")
    clips = sorted(p.name for p in tmp_path.glob("clip*.mp4"))
    command = [sys.executable, "-m", "openau", "detect", *clips, "--model", str(model), "-o", name]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.DEVNULL)
    log = tmp_path / f"{name}.resume"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_bytes().splitlines()) < 3):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / name).exists()
    assert (tmp_path / f"{name}.partial").exists()
    resumed = detect(*clips, "-o", name, "--resume")
    assert resumed.returncode == 0
    finished = int(resumed.stderr.split(" finished before")[0].split("; ")[-1])
    assert 2 <= finished < 6
    whole = Path(name).with_stem("whole").name
    assert detect(*clips, "-o", whole).returncode == 0
    assert (tmp_path / name).read_bytes() == (tmp_path / whole).read_bytes()
    assert not list(tmp_path.glob("*.partial"))
    assert not list(tmp_path.glob("*.resume"))


def test_an_existing_table_is_replaced_and_survives_a_failure(detect: Run, media: Path, tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("old\n")
    (tmp_path / "broken.jpg").write_text("no")
    assert detect("broken.jpg", "-o", "t.csv").returncode == 1
    assert (tmp_path / "t.csv").read_text() == "old\n"
    assert detect(media / "one.png", "-o", "t.csv").returncode == 0
    assert len(rows(tmp_path / "t.csv")) == 1


def test_a_replaced_video_is_read_again(detect: Run, media: Path, tmp_path: Path) -> None:
    cut = cut_video(tmp_path, media)
    assert detect(media / "one.png", cut, "-o", "t.csv").returncode == 1
    shutil.copy(media / "one.mp4", cut)
    assert detect(media / "one.png", cut, "-o", "t.csv", "--resume").returncode == 0
    assert detect(media / "one.png", cut, "-o", "whole.csv").returncode == 0
    assert (tmp_path / "t.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_camera_that_is_not_there(detect: Run) -> None:
    done = detect("93")
    assert done.returncode == 1
    assert "camera 93" in complaints(done)[0]


def test_ctrl_c_keeps_what_was_finished(model: Path, media: Path, tmp_path: Path) -> None:
    for copy in range(8):
        shutil.copy(media / "one.mp4", tmp_path / f"clip{copy}.mp4")
    command = [sys.executable, "-m", "openau", "detect", ".", "--model", str(model), "-o", "t.csv"]
    process = subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    log = tmp_path / "t.csv.resume"
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and (not log.exists() or len(log.read_bytes().splitlines()) < 2):
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "--resume" in said
    assert "Traceback" not in said
    assert (tmp_path / "t.csv.partial").exists()


def test_help_teaches(openau: Run) -> None:
    text = openau("detect", "--help").stdout
    for word in (
        "0.5 is the decision threshold",
        "looks up",
        "--resume",
        "openau detect photo.jpg",
        "subject's",
        "EXIT CODE",
    ):
        assert word in text


def test_no_input_is_written_over(detect: Run, media: Path, tmp_path: Path) -> None:
    shutil.copy(media / "one.mp4", tmp_path / "clip.mp4")
    for arguments in (("--overlay", "./clip.mp4"), ("-o", "clip.mp4", "--format", "csv")):
        done = detect("clip.mp4", *arguments)
        assert done.returncode == 2
        assert "one of the inputs" in complaints(done)[0]
    assert (tmp_path / "clip.mp4").read_bytes() == (media / "one.mp4").read_bytes()
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_a_name_the_terminal_cannot_show(detect: Run, media: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(media / "one.png", tmp_path / name)
    done = detect(name, env={**os.environ, "LC_ALL": "C.UTF-8", "PYTHONIOENCODING": "ascii"})
    assert done.returncode == 0, done.stderr
    assert "lip corner puller" in done.stdout


def test_json_prints_the_rows_a_table_would_hold(detect: Run, media: Path, tmp_path: Path) -> None:
    for name in ("one.png", "one.mp4"):
        shutil.copy(media / name, tmp_path / name)
    assert detect("one.png", "one.mp4", "-o", "t.jsonl").returncode == 0
    before = sorted(tmp_path.iterdir())
    printed = detect("one.png", "one.mp4", "broken.png", "--json", "--quiet")
    assert printed.returncode == 1
    assert complaints(printed) == ["broken.png: there is no such file or folder"]
    assert len(printed.stderr.splitlines()) == 1  # quiet: no sum
    assert printed.stdout == (tmp_path / "t.jsonl").read_text()
    assert len(printed.stdout.splitlines()) > 1
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("other", [("-o", "t.csv"), ("--format", "csv"), ("--resume",)])
def test_json_writes_no_table(detect: Run, media: Path, tmp_path: Path, other: tuple[str, ...]) -> None:
    done = detect(media / "one.png", "--json", *other)
    assert (done.returncode, done.stdout) == (2, "")
    assert "--json" in complaints(done)[0]
    assert not list(tmp_path.iterdir())
