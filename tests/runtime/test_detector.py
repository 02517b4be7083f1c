"""The Detector on a real face: pictures, arrays, videos."""

from __future__ import annotations

import threading
from pathlib import Path

import av
import cv2
import numpy as np
import onnxruntime
import pytest
from clips import frame, write_clip
from PIL import Image

from openau.bench.clips import lengthen
from openau.bench.detect import run_whole
from openau.errors import InputError, UsageError
from openau.faces.extractors import FaceMeshExtractor
from openau.media import Frame, Selection, open_video
from openau.runtime import Detector

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def detector(model: Path) -> Detector:
    return Detector(model)


def test_a_picture(detector: Detector, media: Path) -> None:
    faces = detector.detect(media / "two.png")
    assert faces.face_id.tolist() == [0, 1]
    assert faces.source.tolist() == [str(media / "two.png")] * 2
    assert faces.box[0, 2] * faces.box[0, 3] > faces.box[1, 2] * faces.box[1, 3]
    assert faces.landmarks is not None
    for row in range(2):
        x, y, width, height = faces.box[row]
        points = faces.landmarks[row, :, :2]
        np.testing.assert_allclose(points.min(axis=0), [x, y], atol=1e-3)
        np.testing.assert_allclose(points.max(axis=0), [x + width, y + height], atol=1e-3)
    assert ((faces.values[:, :12] >= 0) & (faces.values[:, :12] <= 1)).all()


def test_without_a_face_there_is_one_empty_row(detector: Detector, media: Path, tmp_path: Path) -> None:
    faces = detector.detect(media / "wall.png")
    assert len(faces) == 1
    assert not faces.has_face[0]
    assert np.isnan(faces.values).all()
    Image.new("RGB", (1, 1)).save(tmp_path / "dot.png")
    assert not detector.detect(tmp_path / "dot.png").has_face.any()


def test_an_array_gives_what_its_file_gives(detector: Detector, media: Path) -> None:
    pixels = np.asarray(Image.open(media / "one.png"))
    expected = detector.detect(media / "one.png")
    for form in (pixels, pixels.astype(np.uint16) * 257, pixels / 255):
        found = detector.detect(form)
        np.testing.assert_array_equal(found.values, expected.values)
        np.testing.assert_array_equal(found.box, expected.box)
    assert detector.detect_image(pixels, source="mine").source.tolist() == ["mine"]
    with pytest.raises(ValueError, match="shape"):
        detector.detect(pixels[None])


def test_mirror_images_exchange_left_and_right(detector: Detector, media: Path) -> None:
    """With mirror averaging the two differ only by how exactly the face is found again."""
    picture = np.asarray(Image.open(media / "one.png"))
    face, image = detector.detect(picture), detector.detect(picture[:, ::-1])
    np.testing.assert_allclose(image.values[:, :12], face.values[:, :12], atol=0.06)
    for number in (2, 12):
        assert image.column(f"AU{number:02d}_L")[0] == pytest.approx(face.column(f"AU{number:02d}_R")[0], abs=0.06)
    assert image.pose[0, 1] == pytest.approx(-face.pose[0, 1], abs=2)


def test_mirror_averaging_is_the_mean_of_two_runs(detector: Detector, model: Path, media: Path) -> None:
    picture = np.asarray(Image.open(media / "one.png"))
    (face,) = detector.finder.find(picture)
    views = (FaceMeshExtractor.read(face.mesh), FaceMeshExtractor().look(np.ascontiguousarray(face.crop[:, ::-1])))
    plain, mirrored = (
        detector.network.predict(geometry=view.geometry[None], hypercolumns=view.columns[None]) for view in views
    )
    together = detector.look(picture).prediction
    np.testing.assert_allclose(together.occurrence, (plain.occurrence + mirrored.occurrence) / 2, atol=1e-4)
    np.testing.assert_allclose(together.left, (plain.left + mirrored.right) / 2, atol=1e-4)
    single = Detector(model, mirror=False).look(picture).prediction
    np.testing.assert_allclose(single.occurrence, plain.occurrence, atol=1e-4)


def test_max_faces_keeps_the_largest(model: Path, media: Path, detector: Detector) -> None:
    largest = Detector(model, max_faces=1).detect(media / "two.png")
    np.testing.assert_array_equal(largest.box, detector.detect(media / "two.png").box[:1])


def test_a_video_frame_by_frame(detector: Detector, media: Path) -> None:
    tables = list(detector.stream(media / "two.mp4"))
    assert [int(t.frame[0]) for t in tables] == list(range(20))
    np.testing.assert_allclose([float(t.timestamp[0]) for t in tables], np.arange(20) / 25, atol=1e-6)
    assert [len(t) for t in tables] == [2] * 8 + [1] * 3 + [2] * 9
    assert all(t.has_face.all() for t in (*tables[:8], *tables[11:]))
    assert not any(t.has_face.any() for t in tables[8:11])
    # Two frames' loss and the same place: the same people.
    left = {int(t.face_id[np.argmin(t.box[:, 0])]) for t in (*tables[:8], *tables[11:])}
    right = {int(t.face_id[np.argmax(t.box[:, 0])]) for t in (*tables[:8], *tables[11:])}
    assert (left, right) == ({0}, {1})


def test_the_whole_video_is_its_frames(detector: Detector, media: Path) -> None:
    whole = detector.detect(media / "one.mp4")
    parts = list(detector.stream(media / "one.mp4"))
    np.testing.assert_array_equal(whole.values, np.concatenate([p.values for p in parts]))
    assert whole.landmarks is None


def test_frames_judged_together_say_what_they_say_alone(detector: Detector, media: Path) -> None:
    with open_video(media / "two.mp4") as frames:
        alone = list(detector.watch_frames(frames, "clip", live=True))
    for _ in range(2):
        with open_video(media / "two.mp4") as frames:
            together = list(detector.watch_frames(frames, "clip"))
        assert [seen.frame.index for seen in together] == [seen.frame.index for seen in alone]
        for a, b in zip(alone, together, strict=True):
            np.testing.assert_array_equal(a.faces.face_id, b.faces.face_id)
            np.testing.assert_array_equal(a.faces.box, b.faces.box)
            np.testing.assert_allclose(a.prediction.occurrence, b.prediction.occurrence, atol=1e-4)
            np.testing.assert_allclose(a.faces.values, b.faces.values, atol=1e-5)


def test_a_video_gives_the_same_bits_every_time(detector: Detector, model: Path, media: Path) -> None:
    first = detector.detect(media / "two.mp4")
    again = Detector(model).detect(media / "two.mp4")
    assert first.values.tobytes() == again.values.tobytes()


def test_variable_frame_rates_keep_their_times(detector: Detector, tmp_path: Path) -> None:
    times = [0.0, 0.04, 0.1, 0.5, 0.52, 1.0]
    clip = write_clip(tmp_path / "vfr.mp4", 6, times=times)
    np.testing.assert_allclose(detector.detect(clip).timestamp, times, atol=1e-3)


def test_an_animated_gif_is_a_video(detector: Detector, tmp_path: Path) -> None:
    pictures = [Image.fromarray(frame(i)) for i in range(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    faces = detector.detect(tmp_path / "a.gif")
    assert faces.frame.tolist() == [0, 1, 2]
    np.testing.assert_allclose(faces.timestamp, [0, 0.1, 0.2], atol=1e-3)
    assert faces.has_face.all()


def test_a_video_cut_in_the_middle_yields_what_there_is_then_says_so(detector: Detector, tmp_path: Path) -> None:
    whole = write_clip(tmp_path / "w.mp4", 30)
    with (
        av.open(str(whole)) as source,
        av.open(str(tmp_path / "front.mp4"), "w", options={"movflags": "faststart"}) as out,
    ):
        stream = source.streams.video[0]
        copy = out.add_stream_from_template(stream)
        for packet in source.demux(stream):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    content = (tmp_path / "front.mp4").read_bytes()
    (tmp_path / "cut.mp4").write_bytes(content[: len(content) // 2])
    seen = []
    with pytest.raises(InputError, match=r"cut\.mp4: the video ends at"):
        seen.extend(int(faces.frame[0]) for faces in detector.stream(tmp_path / "cut.mp4"))
    assert not any(thread.name == "openau-reader" for thread in threading.enumerate())


def test_closing_a_stream_stops_its_thread(detector: Detector, media: Path) -> None:
    stream = detector.stream(media / "one.mp4")
    next(stream)
    assert any(thread.name == "openau-reader" for thread in threading.enumerate())
    stream.close()  # type: ignore[attr-defined]
    assert not any(thread.name == "openau-reader" for thread in threading.enumerate())


def test_frames_may_come_from_anywhere(detector: Detector) -> None:
    frames = (Frame(i, i * 0.5, frame(i)) for i in range(3))
    seen = list(detector.watch_frames(frames, "mine"))
    assert [float(s.faces.timestamp[0]) for s in seen] == [0, 0.5, 1.0]
    assert {str(s.faces.source[0]) for s in seen} == {"mine"}


def test_threads_share_a_detector(detector: Detector, media: Path) -> None:
    expected = detector.detect(media / "two.png").values
    results: list[np.ndarray] = []

    def work() -> None:
        for _ in range(3):
            results.append(detector.detect(media / "two.png").values)

    workers = [threading.Thread(target=work) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert len(results) == 9
    for values in results:
        np.testing.assert_array_equal(values, expected)


def test_wrong_arguments(model: Path) -> None:
    with pytest.raises(UsageError, match="nonsense"):
        Detector("nonsense")
    with pytest.raises(ValueError, match="max_faces"):
        Detector(model, max_faces=0)
    with pytest.raises(ValueError, match="threads"):
        Detector(model, threads=0)


def test_pixels_are_counted_before_decoding(model: Path, media: Path) -> None:
    with pytest.raises(InputError, match="megapixels"):
        Detector(model, max_pixels=1000).detect(media / "one.png")


@pytest.mark.slow
def test_memory_does_not_grow_with_length(model: Path, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 25, width=320, height=240)
    short = run_whole(lengthen(clip, tmp_path / "s.mp4", 4), str(model))
    long = run_whole(lengthen(clip, tmp_path / "l.mp4", 32), str(model))
    assert (short.frames, long.frames) == (100, 800)
    assert abs(long.megabytes - short.megabytes) <= 20


def test_lengthening_copies_pictures_and_continues_their_times(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "c.mp4", 10, width=320, height=240)
    with av.open(str(lengthen(clip, tmp_path / "l.mp4", 1.0))) as long, av.open(str(clip)) as short:
        pictures = [(f.time, f.to_ndarray(format="rgb24")) for f in long.decode(video=0)]
        originals = [f.to_ndarray(format="rgb24") for f in short.decode(video=0)]
    np.testing.assert_allclose([time for time, _ in pictures], np.arange(25) / 25, atol=1e-3)
    for index, (_, picture) in enumerate(pictures):
        assert cv2.absdiff(picture, originals[index % 10]).max() == 0


def test_a_part_of_a_video(detector: Detector, media: Path) -> None:
    whole = detector.detect(media / "one.mp4")
    parts = list(detector.stream(media / "one.mp4", Selection(start=0.2, end=0.6, stride=2)))
    expected = [i for i in whole.frame if 0.2 <= whole.timestamp[i] < 0.6][::2]
    assert [int(part.frame[0]) for part in parts] == expected
    np.testing.assert_allclose([part.timestamp[0] for part in parts], whole.timestamp[expected])


def test_devices(model: Path) -> None:
    assert Detector(model, device="auto").device in ("cpu", "cuda")
    with pytest.raises(UsageError, match="must be one of auto, cpu, cuda"):
        Detector(model, device="tpu")
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        with pytest.raises(UsageError, match="onnxruntime-gpu"):
            Detector(model, device="cuda")
