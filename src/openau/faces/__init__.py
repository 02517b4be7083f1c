"""Faces: finding them, their landmarks and pose, crops for networks, and following them through a video."""

from openau.faces.detect import Detection, FaceDetector
from openau.faces.finder import FaceFinder, LocatedFace
from openau.faces.mesh import FaceMesh, MeshOutput
from openau.faces.pose import head_pose
from openau.faces.track import TrackedFace, Tracker

__all__ = [
    "Detection", "FaceDetector", "FaceFinder", "FaceMesh", "LocatedFace", "MeshOutput", "TrackedFace", "Tracker", "head_pose",
]  # fmt: skip
