"""MediaPipe's Face Landmarker with blendshapes, from a video to a CSV. Run by `benchmarks/peers.py` in MediaPipe's environment.

As its users do it: OpenCV's VideoCapture decodes, each frame is turned into RGB and handed to the landmarker in video mode with its time.
The landmarker runs on the CPU (XNNPACK), with the threads it chooses itself. The start of the program and the loading of the model are
not timed.

The argument is JSON: `clip`, `landmarker` (files).
"""

from __future__ import annotations

import csv
import json
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

import cv2
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions, RunningMode
from mediapipe.tasks.python.vision.face_landmarker import Blendshapes


def main() -> None:
    """Run it once and print one line of JSON."""
    asked = json.loads(sys.argv[1])
    options = FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=asked["landmarker"], delegate=BaseOptions.Delegate.CPU),
        running_mode=RunningMode.VIDEO,
        output_face_blendshapes=True,
        num_faces=1,
    )
    with tempfile.TemporaryDirectory() as folder, FaceLandmarker.create_from_options(options) as landmarker:
        start = time.perf_counter()
        frames, covered = write_blendshapes(landmarker, asked["clip"], Path(folder) / "blendshapes.csv")
        spent = time.perf_counter() - start
    run = {"frames": frames, "covered": covered, "seconds": spent, "megabytes": peak_memory()}
    names = ("mediapipe", "opencv-contrib-python", "numpy")
    print(json.dumps({"versions": {name: version(name) for name in names}, "run": run}))


def write_blendshapes(landmarker: FaceLandmarker, clip: str, target: Path) -> tuple[int, int]:
    """A row per frame: number, time in seconds, the 52 blendshapes (empty without a face). Returns frames, and those with a face."""
    video = cv2.VideoCapture(clip)
    if not video.isOpened():
        sys.exit(f"{clip}: OpenCV cannot open it")
    rate = video.get(cv2.CAP_PROP_FPS) or 30.0
    frames = covered = 0
    with target.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["frame", "time", *(name.name.lower() for name in Blendshapes)])
        while True:
            there, image = video.read()
            if not there:
                break
            picture = mp.Image(image_format=mp.ImageFormat.SRGB, data=cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
            found = landmarker.detect_for_video(picture, round(1000 * frames / rate))
            scores = found.face_blendshapes[0] if found.face_blendshapes else []
            writer.writerow([frames, f"{frames / rate:.6f}", *(f"{score.score:.6f}" for score in scores)])
            frames, covered = frames + 1, covered + bool(scores)
    video.release()
    return frames, covered


def peak_memory() -> float:
    """Most memory this process has ever taken, megabytes; NaN where the system does not tell."""
    status = Path("/proc/self/status")
    lines = status.read_text().splitlines() if status.exists() else []
    return next((int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith("VmHWM:")), float("nan"))


if __name__ == "__main__":
    main()
