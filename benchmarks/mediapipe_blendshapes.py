"""Run MediaPipe's Face Landmarker with blendshapes over a folder of pictures: the baseline `real_photos.py` compares with.

MediaPipe pins old libraries, so it lives in an environment of its own:

    python -m venv mediapipe-env && mediapipe-env/bin/pip install mediapipe==0.10.21
    mediapipe-env/bin/python benchmarks/mediapipe_blendshapes.py FOLDER/images face_landmarker.task blendshapes.csv

Needs nothing of OpenAU. Writes one row per picture: its name and the 52 blendshape scores of the largest face (empty without a face).
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

import cv2
import mediapipe as mp
from mediapipe.tasks.python import BaseOptions
from mediapipe.tasks.python.vision import FaceLandmarker, FaceLandmarkerOptions


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("images", type=Path, help="folder of pictures")
    parser.add_argument("task", type=Path, help="face_landmarker.task")
    parser.add_argument("out", type=Path, help="CSV to write")
    arguments = parser.parse_args()
    options = FaceLandmarkerOptions(
        base_options=BaseOptions(model_asset_path=str(arguments.task)),
        output_face_blendshapes=True,
        num_faces=5,
        min_face_detection_confidence=0.3,
        min_face_presence_confidence=0.3,
    )
    names: list[str] = []
    rows: list[tuple[str, dict[str, float]]] = []
    with FaceLandmarker.create_from_options(options) as landmarker:
        for path in sorted(arguments.images.iterdir()):
            # Read as colour: a greyscale file would be handed on with one channel, which the graph refuses.
            pixels = cv2.cvtColor(cv2.imread(str(path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
            result = landmarker.detect(mp.Image(image_format=mp.ImageFormat.SRGB, data=pixels))
            scores: dict[str, float] = {}
            if result.face_landmarks:
                widths = [max(p.x for p in face) - min(p.x for p in face) for face in result.face_landmarks]
                largest = widths.index(max(widths))
                scores = {c.category_name: c.score for c in result.face_blendshapes[largest]}
                names = names or sorted(scores)
            rows.append((path.name, scores))
    with arguments.out.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *names])
        writer.writerows([image, *(scores.get(name, "") for name in names)] for image, scores in rows)
    print(f"{len(rows)} pictures, {sum(not scores for _, scores in rows)} without a face → {arguments.out}")


if __name__ == "__main__":
    main()
