"""From a picture to located faces: detection, a coarse pass of the mesh, then a final pass on a well-centred crop."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from openau.faces.align import (
    MESH_SIZE,
    Matrix,
    align,
    apply,
    compose,
    invert,
    region_from_detection,
    region_from_landmarks,
    warp,
)
from openau.faces.detect import Detection, FaceDetector, Window, overlap
from openau.faces.mesh import FaceMesh, MeshOutput
from openau.faces.pose import head_pose

PRESENCE = 0.5
"""Below this score of the mesh, a crop shows no face."""
CLOSEUP_PRESENCE = 0.9
"""Likewise for close-ups, which the detector reports at a lower threshold."""
DUPLICATE = 0.5
"""Meshes whose boxes overlap by more than this (intersection over union) lie on one face."""
MAX_SHIFT = 0.1
"""How far, in crop sides, a tracked face may have moved from the centre of its crop before the crop is taken again."""
MAX_TURN = 10.0
"""Likewise its roll in degrees …"""
MAX_GROWTH = 1.15
"""… and its size."""

Image = npt.NDArray[np.uint8]
Float = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class LocatedFace:
    """A face found in a picture.

    Attributes:
        score: probability that this is a face, 0–1 (of the mesh's final pass).
        box: (4,) x, y, width, height of the landmarks, image pixels.
        landmarks: (468, 3) float32, image pixels; z in the same unit, smaller = nearer the camera.
        pose: pitch, yaw, roll in degrees (see `openau.faces.pose.head_pose`).
        mesh: output of the final pass; its landmarks are in the crop's pixels.
        matrix: (2, 3) of that crop, template `mesh192`, from image to crop points.
        crop: (192, 192, 3) RGB uint8, the crop itself.
    """

    score: float
    box: Float
    landmarks: Float
    pose: tuple[float, float, float]
    mesh: MeshOutput
    matrix: Matrix
    crop: Image


class FaceFinder:
    """Finds the faces of a picture and their landmarks. Not to be shared between threads.

    Args:
        max_faces: keep only so many, the largest; None keeps all.
        min_size: side in pixels of the smallest faces to look for.
        threads: threads of each network.

    Attributes:
        detector: finds boxes.
        mesh: finds landmarks in them.

    Raises:
        WeightsError: a network's file cannot be had.
    """

    def __init__(self, max_faces: int | None = None, min_size: int = 40, threads: int = 1) -> None:
        self.max_faces = max_faces
        self.min_size = min_size
        self.detector = FaceDetector(threads)
        self.mesh = FaceMesh(threads)

    def find(self, image: Image) -> list[LocatedFace]:
        """Find the faces of an image (H, W, 3) RGB uint8, from the largest to the smallest; none is an empty list."""
        faces = self._locate_all(image, self.detector.scan(image, self.min_size)) or self.find_closeup(image)
        return by_size(faces)[: self.max_faces]

    def find_large(self, image: Image) -> list[LocatedFace]:
        """Like `find`, but looks for small faces only if the whole picture, seen at once, shows none; far fewer passes of the detector.

        Seen at once, a picture shows faces down to about a thirteenth of its longer side; smaller ones beside them are not reported.
        """
        whole = Window(0, 0, image.shape[1], image.shape[0])
        faces = self._locate_all(image, self.detector.look(image, whole))
        return by_size(faces)[: self.max_faces] if faces else self.find(image)

    def find_closeup(self, image: Image) -> list[LocatedFace]:
        """Find a face that fills the frame; for pictures in which nothing else was found.

        It takes the mesh to tell: on a close-up the detector may well see something, but not the face.
        """
        for detections in self.detector.closeups(image):
            faces = [face for face in self._locate_all(image, detections) if face.score >= CLOSEUP_PRESENCE]
            if faces:
                return faces
        return []

    def locate(self, image: Image, detection: Detection) -> LocatedFace | None:
        """Landmarks of a detected face; None if the mesh sees no face there."""
        return self.find_in(image, region_from_detection(detection))

    def find_in(self, image: Image, matrix: Matrix) -> LocatedFace | None:
        """Landmarks of the face in a known region: a coarse pass of the mesh, then the final one.

        Args:
            image: (H, W, 3) RGB uint8.
            matrix: (2, 3) from image to the points of a crop of `MESH_SIZE` pixels.

        Returns:
            The face, or None if the mesh sees none there.
        """
        coarse = self.mesh.run(warp(image, matrix, MESH_SIZE))
        if coarse.score < PRESENCE:
            return None
        return self._final_pass(image, apply(invert(matrix), coarse.landmarks))

    def refine(self, image: Image, landmarks: Float) -> LocatedFace | None:
        """Find a face again from its landmarks in the previous frame.

        One pass of the mesh; a second one if the face has moved so far that the first crop was badly centred.

        Args:
            image: (H, W, 3) RGB uint8.
            landmarks: (468, 3) in the previous frame.

        Returns:
            The face, or None if the mesh sees none there any more.
        """
        face = self._final_pass(image, landmarks)
        if face is not None and _moved(face):
            face = self._final_pass(image, face.landmarks)
        return face

    def _locate_all(self, image: Image, detections: Sequence[Detection]) -> list[LocatedFace]:
        return distinct([face for d in detections if (face := self.locate(image, d)) is not None])

    def _final_pass(self, image: Image, landmarks: Float) -> LocatedFace | None:
        crop, matrix = align(image, landmarks, "mesh192")
        mesh = self.mesh.run(crop)
        found = apply(invert(matrix), mesh.landmarks)
        low, high = found[:, :2].min(axis=0), found[:, :2].max(axis=0)
        height, width = image.shape[:2]
        centre = (low + high) / 2
        outside = not (0 <= centre[0] < width and 0 <= centre[1] < height)
        if mesh.score < PRESENCE or outside:
            return None
        box = np.concatenate([low, high - low])
        return LocatedFace(mesh.score, box, found, head_pose(found), mesh, matrix, crop)


def by_size(faces: Sequence[LocatedFace]) -> list[LocatedFace]:
    """Faces from the largest box to the smallest."""
    return sorted(faces, key=lambda face: -float(face.box[2] * face.box[3]))


def distinct(faces: Sequence[LocatedFace]) -> list[LocatedFace]:
    """Drop meshes that have converged to the same face; the better score stays."""
    kept: list[LocatedFace] = []
    for face in sorted(faces, key=lambda f: -f.score):
        if all(overlap(face.box, other.box) <= DUPLICATE for other in kept):
            kept.append(face)
    return kept


def _moved(face: LocatedFace) -> bool:
    """Whether the crop that the face itself asks for differs much from the one it was found in."""
    change = compose(region_from_landmarks(face.landmarks), invert(face.matrix))
    middle = np.array([[MESH_SIZE / 2, MESH_SIZE / 2]])
    shift = float(np.linalg.norm(apply(change, middle) - middle)) / MESH_SIZE
    growth = math.hypot(change[0, 0], change[1, 0])
    turn = abs(math.degrees(math.atan2(change[1, 0], change[0, 0])))
    return shift > MAX_SHIFT or turn > MAX_TURN or not 1 / MAX_GROWTH < growth < MAX_GROWTH
