"""`Detector`: Action Units of pictures, videos and cameras."""

from __future__ import annotations

import itertools
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt

from openau.faces.finder import FaceFinder, LocatedFace
from openau.faces.quality import COLUMNS, assess
from openau.faces.readers import Reader, stack
from openau.faces.subject import SubjectTracker
from openau.faces.track import TrackedFace, Tracker
from openau.media import (
    MAX_PIXELS,
    WHOLE,
    Frame,
    Selection,
    Stream,
    Video,
    classify,
    open_camera,
    open_video,
    read_image,
)
from openau.result import AUColumns, Faces
from openau.runtime.devices import decoder, resolve
from openau.runtime.network import AUNetwork, Prediction, mirror_mean
from openau.runtime.pixels import as_rgb
from openau.runtime.prefetch import Prefetch, in_groups
from openau.runtime.reading import reader_for
from openau.weights.cards import ModelCard
from openau.weights.store import resolve_model

Image = npt.NDArray[np.uint8]
FilePath = str | os.PathLike[str]

AT_ONCE = 32
"""Looks that the model judges in one batch: a crowd's are judged in several, or a large ViT's attention would take gigabytes."""
GROUP = 8
"""Frames of a file that are judged together at most: the model takes half the time per face in a batch of 16 looks …"""
GROUP_BYTES = 1 << 25
"""… and the bytes their pictures may take. As many wait between any two steps, by halves."""

Looks = tuple[Mapping[str, npt.NDArray[np.float32]], ...]
"""What a reader gives of a face: as it is and, where mirror images are judged too, of its mirror image."""


@dataclass(frozen=True, slots=True, eq=False)
class Observation:
    """One frame and what was seen in it.

    Attributes:
        frame: index, time and picture.
        faces: one row per face, or one row that says there is none; with landmarks.
        prediction: logits behind `faces`, one row per face (none for a frame without).
    """

    frame: Frame
    faces: Faces
    prediction: Prediction


class Detector:
    """Finds faces and judges their Action Units.

    A detector may be shared between threads; they take turns, frame by frame.

    Args:
        model: name of a model (`openau models` lists them), `default`, or an `.onnx` file with its card, the `.json`, beside it.
        max_faces: keep only so many faces of a frame, the largest; None keeps all.
        threads: threads of each network. The default, 1, is the fastest for video, where decoding takes another core.
        mirror: judge each face and its mirror image and average the two (a little better; with Face Mesh about 2 ms more per face).
        max_pixels: refuse larger pictures by their header.
        device: `auto`, `cpu` or `cuda`: where the model runs and videos are decoded. Faces are found on the processor in any case.
        quality: add `openau.faces.quality.COLUMNS` to the tables: how well each face can be seen.
        same_person: videos show one person, who is always face 0; other faces are left out (`openau.faces.subject` has the rule).

    Attributes:
        card: the model's card.
        device: `cpu` or `cuda`.
        columns: AU columns of the tables.
        reader: what is read of a face for the model: the features of a frozen network, or pixels; faces are found by Face Mesh in any case.

    Raises:
        UsageError: there is no model of this name, or the device cannot be used.
        WeightsError: weights are missing, unreachable or not the promised ones, those of the extractor included.
    """

    def __init__(
        self,
        model: str | os.PathLike[str] = "default",
        max_faces: int | None = None,
        threads: int | None = None,
        mirror: bool = True,
        max_pixels: int = MAX_PIXELS,
        device: str = "auto",
        same_person: bool = False,
        quality: bool = False,
    ) -> None:
        if max_faces is not None and max_faces < 1:
            raise ValueError(f"max_faces must be at least 1, not {max_faces}")
        if threads is not None and threads < 1:
            raise ValueError(f"threads must be at least 1, not {threads}")
        card, file = resolve_model(os.fspath(model))
        self.card: ModelCard = card
        self.device = resolve(device)
        self.network = AUNetwork(file, card, threads or 1, self.device)
        self.quality = quality
        self.columns: AUColumns = replace(self.network.columns, extra=COLUMNS if quality else ())
        self.mirror = mirror
        self.same_person = same_person
        self.max_pixels = max_pixels
        self.finder = FaceFinder(max_faces=max_faces, threads=threads or 1)
        # With a Face Mesh of its own: faces of the next frames are followed while those of the last ones are judged.
        self.reader: Reader = reader_for(self.network, file, threads=threads or 1)
        self._finding, self._looking, self._judging = threading.Lock(), threading.Lock(), threading.Lock()

    def detect(self, source: FilePath | npt.NDArray[Any]) -> Faces:
        """Action Units of a picture or a whole video.

        Args:
            source: path of a picture or video, or a picture as an array: (H, W, 3) RGB, (H, W) grey or (H, W, 4) RGBA; uint8, uint16
                (0–65535) or float (0–1). OpenCV's BGR must be turned round first: `image[:, :, ::-1]`.

        Returns:
            A row per face, from the largest to the smallest (a picture) or frame by frame (a video); a picture or frame without a face
            is one row with empty face fields. Landmarks are kept for pictures only.

        Raises:
            InputError: the file cannot be read.
            ValueError: an array is not a picture.
        """
        if isinstance(source, np.ndarray):
            return self.detect_image(source)
        if classify(Path(source)) == "video":
            parts = [replace(faces, landmarks=None) for faces in self.stream(source)]
            return Faces.concatenate(parts) if parts else Faces.no_face(self.columns, os.fspath(source))
        return self.detect_image(read_image(Path(source), self.max_pixels), source=os.fspath(source))

    def detect_image(self, image: npt.NDArray[Any], source: str = "array") -> Faces:
        """Action Units of one picture given as an array (see `detect`).

        Raises:
            ValueError: the array is not a picture.
        """
        return self.look(as_rgb(image), source).faces

    def look(self, image: Image, source: str = "array", located: Sequence[LocatedFace] | None = None) -> Observation:
        """Like `detect_image` for (H, W, 3) RGB uint8, with the logits and the picture.

        Args:
            image: the picture.
            source: what the table calls it.
            located: its faces, where they are known (found by `finder`); None looks for them.
        """
        with self._finding:
            located = self.finder.find(image) if located is None else located
        (prediction,) = self._judge([self._look(image, located)])
        return self._observation(Frame(0, 0.0, image), source, located, list(range(len(located))), prediction)

    def stream(self, source: FilePath | int, selection: Selection = WHOLE) -> Iterator[Faces]:
        """Action Units of a video or camera, a table per frame, in constant memory.

        Faces are tracked: `face_id` stays with a person. A frame without a face is one row with empty face fields.

        Args:
            source: path of a video, or the index of a camera.
            selection: which frames to look at, such as `Selection(start=60, end=90, rate=10)`.

        Raises:
            InputError: the video cannot be read, or ends before its time; the frames before are yielded.
        """
        for observation in self.watch(source, selection):
            yield observation.faces

    def watch(self, source: FilePath | int, selection: Selection = WHOLE) -> Iterator[Observation]:
        """Like `stream`, with the pictures and logits.

        Raises:
            InputError: see `stream`.
        """
        if isinstance(source, int):
            name, opened = str(source), cast(Stream, open_camera(source, selection))
        else:
            name, opened = os.fspath(source), cast(Stream, self.open(source, selection))
        with opened as frames:
            yield from self.watch_frames(frames, name, live=isinstance(source, int))

    def open(self, path: FilePath, selection: Selection = WHOLE) -> Video:
        """A video as this detector's device decodes it.

        Raises:
            InputError: see `openau.media.open_video`.
        """
        return open_video(Path(path), selection, decoder(self.device))

    def watch_frames(self, frames: Iterable[Frame], source: str, live: bool = False) -> Iterator[Observation]:
        """Like `watch` for frames from anywhere.

        Four things go on at once: frames are read in one thread, faces followed in a second, looked at for the model in a third, and judged
        in the caller's. The threads end with this iterator.

        Args:
            frames: the frames of one video in order.
            source: what the table calls it.
            live: frames come as they happen, so each is judged at once; otherwise a few are judged together, which is faster. Which
                ones are, and so every bit of the result, depends on the video alone.
        """
        reading = iter(frames)
        first = next(reading, None)
        if first is None:
            return
        together = 1 if live else min(GROUP, max(1, GROUP_BYTES // max(1, first.image.nbytes)))
        waiting = max(1, together // 2)
        with (
            Prefetch(itertools.chain([first], reading), waiting) as ahead,
            Prefetch(self._follow(ahead), waiting) as followed,
            Prefetch(self._look_on(followed), waiting) as seen,
        ):
            for group in in_groups(seen, together):
                predictions = self._judge([looks for _, _, looks in group])
                for (frame, tracked, _), prediction in zip(group, predictions, strict=True):
                    yield self._observation(
                        frame, source, [t.face for t in tracked], [t.id for t in tracked], prediction
                    )

    def _follow(self, frames: Iterable[Frame]) -> Iterator[tuple[Frame, list[TrackedFace]]]:
        """Frames with the faces that are followed through them."""
        tracker = SubjectTracker(Tracker(self.finder)) if self.same_person else Tracker(self.finder)
        for frame in frames:
            with self._finding:
                tracked = tracker.update(frame.image, frame.time)
            yield frame, tracked

    def _look_on(
        self, frames: Iterable[tuple[Frame, list[TrackedFace]]]
    ) -> Iterator[tuple[Frame, list[TrackedFace], list[Looks]]]:
        """What `_follow` gives, with what the model is given of each face."""
        for frame, tracked in frames:
            yield frame, tracked, self._look(frame.image, [t.face for t in tracked])

    def _look(self, image: Image, faces: Sequence[LocatedFace]) -> list[Looks]:
        """What the model is given of the faces of a picture: of each as it is and, if wanted, of its mirror image."""
        sides = (False, True) if self.mirror else (False,)
        with self._looking:
            return [tuple(self.reader.look_at(image, face, side) for side in sides) for face in faces]

    def _judge(self, frames: Sequence[Sequence[Looks]]) -> list[Prediction]:
        """Logits of the faces of some frames, as many looks in one batch as may be."""
        faces = [looks for frame in frames for looks in frame]
        looks = [look for side in range(1 + self.mirror) for look in (face[side] for face in faces)]
        starts = range(0, max(1, len(looks)), AT_ONCE)
        with self._judging:
            parts = [self.network.predict(**stack(looks[at : at + AT_ONCE], self.reader.inputs)) for at in starts]
        prediction = Prediction.concatenate(parts)
        if self.mirror:
            prediction = mirror_mean(prediction[: len(faces)], prediction[len(faces) :])
        ends = list(itertools.accumulate((len(frame) for frame in frames), initial=0))
        return [prediction[start:end] for start, end in itertools.pairwise(ends)]

    def _observation(
        self, frame: Frame, source: str, located: Sequence[LocatedFace], ids: Sequence[int], prediction: Prediction
    ) -> Observation:
        if not located:
            return Observation(frame, Faces.no_face(self.columns, source, frame.index, frame.time), prediction)
        n = len(located)
        faces = Faces(
            columns=self.columns,
            source=np.full(n, source, object),
            frame=np.full(n, frame.index, np.int64),
            timestamp=np.full(n, frame.time, np.float64),
            face_id=np.asarray(ids, np.int64),
            score=np.array([face.score for face in located], np.float32),
            box=np.stack([face.box for face in located]).astype(np.float32),
            pose=np.array([face.pose for face in located], np.float32),
            values=self._values(located, prediction),
            landmarks=np.stack([face.landmarks for face in located]),
        )
        return Observation(frame, faces, prediction)

    def _values(self, located: Sequence[LocatedFace], prediction: Prediction) -> npt.NDArray[np.float32]:
        """AU columns of the faces of a frame and, if wanted, how well each can be seen."""
        if not self.quality:
            return prediction.values()
        return np.concatenate([prediction.values(), np.stack([assess(face) for face in located])], axis=1)
