"""What detection costs: milliseconds of each stage, frames per second of the whole, memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
from PIL import Image

from openau.bench.clips import lengthen
from openau.bench.machine import peak_memory
from openau.demo import CLIP
from openau.errors import InputError
from openau.faces.align import align
from openau.faces.detect import Window
from openau.faces.extractors import FACE_MESH
from openau.faces.finder import LocatedFace
from openau.faces.mesh import FaceMesh
from openau.faces.readers import stack
from openau.media import open_video
from openau.runtime.detector import Detector
from openau.sinks import TableSink

SAMPLE = 150
"""Frames on which stages are timed one by one."""


@dataclass(frozen=True, slots=True)
class Stage:
    """One step of the way from a file to a table.

    Attributes:
        name: what it is.
        milliseconds: median time of one call.
        per_frame: calls per frame of a video with one face.
    """

    name: str
    milliseconds: float
    per_frame: float


@dataclass(frozen=True, slots=True)
class Whole:
    """A whole run, file to table.

    Attributes:
        frames: frames of the clip.
        covered: those in which a face was seen.
        faces: rows with a face.
        seconds: time from the first frame to the finished table; the start of the program and the loading of networks not included.
        megabytes: peak memory of the process.
    """

    frames: int
    covered: int
    faces: int
    seconds: float
    megabytes: float

    @property
    def rate(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds

    @property
    def face_rate(self) -> float:
        """Faces per second."""
        return self.faces / self.seconds


def time_stages(clip: Path, detector: Detector) -> list[Stage]:
    """Time every stage by itself, one thread at a time, on the first frames of a clip.

    Raises:
        InputError: the clip cannot be read or shows no face.
    """
    decode, images = _time_decoding(clip)
    faces = [found[0] if (found := detector.finder.find(image)) else None for image in images]
    seen = [(image, face) for image, face in zip(images, faces, strict=True) if face is not None]
    if not seen:
        raise InputError(f"{clip}: shows no face in its first {len(images)} frames, so there is nothing to time")
    mesh = FaceMesh(1)
    crops = [align(image, face.landmarks, "mesh192")[0] for image, face in seen]
    own = detector.card.extractor == FACE_MESH.extractor
    sides = (False, True) if detector.mirror else (False,)

    def read(pair: tuple[npt.NDArray[np.uint8], LocatedFace]) -> dict[str, npt.NDArray[np.float32]]:
        # Where Face Mesh is the extractor, its passes are a stage of their own; the plain look needs none.
        looks = [detector.reader.look_at(*pair, mirrored=side and not own) for side in sides]
        return stack(looks, detector.reader.inputs)

    inputs = [read(pair) for pair in seen]
    look = detector.finder.detector
    whole_picture = Window(0, 0, images[0].shape[1], images[0].shape[0])
    alone = [{name: part[:1] for name, part in given.items()} for given in inputs]
    return [
        Stage("decode", decode, 1),
        Stage("detect", _median(lambda image: look.look(image, whole_picture), images), 1),
        Stage("align", _median(lambda pair: align(pair[0], pair[1].landmarks, "mesh192"), seen), 1),
        Stage("mesh", _median(mesh.run, crops), len(sides) if own else 1),
        Stage("features", _median(read, seen), 1),
        Stage("AU net", _median(lambda given: detector.network.predict(**given), inputs), 1),
        # Not on the way of a frame where mirror images are judged too: those make a batch of two.
        Stage("AU net, batch 1", _median(lambda given: detector.network.predict(**given), alone), 0),
        Stage("write", _time_writing(detector, seen), 1),
    ]


def _time_decoding(clip: Path) -> tuple[float, list[npt.NDArray[np.uint8]]]:
    images = []
    with open_video(clip) as video:
        start = time.perf_counter()
        for frame in video:
            images.append(frame.image)
            if len(images) == SAMPLE:
                break
        spent = time.perf_counter() - start
    return 1000 * spent / len(images), images


def _time_writing(detector: Detector, seen: Sequence[tuple[npt.NDArray[np.uint8], LocatedFace]]) -> float:
    row = detector.detect_image(seen[0][0])[:1]
    with tempfile.TemporaryDirectory() as folder, TableSink(Path(folder) / "faces.csv", detector.columns) as sink:
        start = time.perf_counter()
        for _ in range(1024):
            sink.write(row)
        sink.finish_source("array")
        return 1000 * (time.perf_counter() - start) / 1024


def _median(call: Callable[[Any], object], items: Sequence[Any]) -> float:
    times = []
    for item in items:
        start = time.perf_counter()
        call(item)
        times.append(time.perf_counter() - start)
    return 1000 * float(np.median(times))


def run_whole(clip: Path, model: str, mirror: bool = True, threads: int | None = None) -> Whole:
    """Run detection, file to table, in a process of its own, so that its memory can be told.

    Raises:
        InputError: the run failed; the message holds its last line.
    """
    arguments = json.dumps({"clip": str(clip), "model": model, "mirror": mirror, "threads": threads})
    command = [sys.executable, "-m", "openau.bench.detect", arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=os.environ)
    if done.returncode:
        raise InputError(
            f"{clip}: the measured run failed: {(done.stderr.strip().splitlines() or ['no reason given'])[-1]}"
        )
    return Whole(**json.loads(done.stdout.splitlines()[-1]))


def compare_lengths(
    clip: Path, model: str, minutes: Sequence[float], mirror: bool = True, threads: int | None = None
) -> list[tuple[float, Whole]]:
    """Peak memory of the same clip made this many minutes long."""
    results = []
    with tempfile.TemporaryDirectory() as folder:
        for length in minutes:
            video = lengthen(clip, Path(folder) / "long.mp4", 60 * length)
            results.append((length, run_whole(video, model, mirror, threads)))
    return results


def _measured_run(clip: str, model: str, mirror: bool, threads: int | None) -> Whole:
    cv2.setNumThreads(1)  # as `openau detect` does
    detector = Detector(model, mirror=mirror, threads=threads)
    with tempfile.TemporaryDirectory() as folder, TableSink(Path(folder) / "faces.csv", detector.columns) as sink:
        start = time.perf_counter()
        frames = covered = faces = 0
        for table in detector.stream(clip):
            sink.write(table)
            seen = int(table.has_face.sum())
            frames, covered, faces = frames + 1, covered + (seen > 0), faces + seen
        sink.finish_source(clip)
        spent = time.perf_counter() - start
    return Whole(frames, covered, faces, spent, peak_memory())


def first_result(model: str) -> float:
    """Seconds from the start of `openau detect PICTURE` in a process of its own to its end: start, loading, one face, table.

    The picture is a frame of the demo's clip; the system has read the program's files before.
    """
    with tempfile.TemporaryDirectory() as folder:
        picture = Path(folder) / "face.png"
        with open_video(CLIP) as video:
            Image.fromarray(next(iter(video)).image).save(picture)
        command = [sys.executable, "-m", "openau", "detect", str(picture), "--model", model]
        start = time.perf_counter()
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        spent = time.perf_counter() - start
    if done.returncode:
        raise InputError(f"{CLIP.name}: the measured run failed: {done.stderr.strip()}")
    return spent


if __name__ == "__main__":
    print(json.dumps(asdict(_measured_run(**json.loads(sys.argv[1])))))
