"""Parts of videos, strides, rates: the same frames as in the whole video, with their places and times."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from clips import frame, write_clip

from openau.errors import UsageError
from openau.media import Frame, Selection, hardware_decoders, open_video, seconds_of


@pytest.fixture(scope="module")
def reordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """B-frames and open groups of pictures: frames are coded in another order than shown, and not each from its own group."""
    path = tmp_path_factory.mktemp("media") / "reordered.mp4"
    options = {"preset": "veryfast", "bf": "3", "g": "12", "x264-params": "open-gop=1:scenecut=0:b-adapt=0"}
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libx264", rate=25, options=options)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuv420p"
        for index in range(60):
            picture = av.VideoFrame.from_ndarray(frame(index, 1, 320, 240), format="rgb24")
            picture.pts, picture.time_base = index, Fraction(1, 25)
            for packet in stream.encode(picture):
                out.mux(packet)
        for packet in stream.encode():
            out.mux(packet)
    return path


def frames_of(path: Path, selection: Selection) -> list[Frame]:
    with open_video(path, selection) as video:
        return list(video)


@pytest.mark.parametrize(
    ("start", "end"), [(0.0, 1.0), (0.48, None), (0.5, 0.52), (0.96, 1.6), (1.21, None), (2.36, None), (0.2, 0.3)]
)
def test_a_part_is_cut_out_of_the_whole(reordered: Path, start: float, end: float | None) -> None:
    whole = frames_of(reordered, Selection())
    assert [f.index for f in whole] == list(range(60))
    expected = [f for f in whole if f.time >= start - 1e-6 and (end is None or f.time < end - 1e-6)]
    part = frames_of(reordered, Selection(start=start, end=end))
    assert [f.index for f in part] == [f.index for f in expected]
    assert [f.time for f in part] == [f.time for f in expected]
    for a, b in zip(part, expected, strict=True):
        np.testing.assert_array_equal(a.image, b.image)


def test_a_part_does_not_decode_what_lies_before_its_key_frame(
    reordered: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with open_video(reordered, Selection(start=2.0)) as video:
        first, pts = video._key_before(2.0) or (0, 0)
        assert first == 48
        assert float(pts * video._video.time_base) == pytest.approx(48 / 25)


def test_strides_and_rates(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=25, rate=25, width=160, height=120)
    assert [f.index for f in frames_of(clip, Selection(stride=4))] == [0, 4, 8, 12, 16, 20, 24]
    assert [f.index for f in frames_of(clip, Selection(start=0.08, stride=10))] == [2, 12, 22]
    # At 10 a second the first frame at or after 0, .1, .2 … s.
    assert [f.index for f in frames_of(clip, Selection(rate=10))] == [0, 3, 5, 8, 10, 13, 15, 18, 20, 23]
    assert [f.index for f in frames_of(clip, Selection(rate=100))] == list(range(25))


def test_uneven_times_are_thinned_by_time(tmp_path: Path) -> None:
    times = [0.0, 0.01, 0.02, 0.5, 0.51, 1.4, 1.41]
    clip = write_clip(tmp_path / "clip.mp4", frames=7, times=times, width=160, height=120)
    assert [f.index for f in frames_of(clip, Selection(rate=2))] == [0, 3, 5]


def test_files_that_cannot_be_searched_are_read_from_their_beginning(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=20, width=160, height=120)
    raw = tmp_path / "clip.h264"
    with av.open(str(clip)) as source, av.open(str(raw), "w") as out:
        copy = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(source.streams.video[0]):
            if packet.dts is not None:
                packet.stream = copy
                out.mux(packet)
    whole = frames_of(raw, Selection())
    part = frames_of(raw, Selection(start=whole[11].time))
    assert [f.index for f in part] == [f.index for f in whole[11:]]


def test_a_part_past_the_end_is_empty(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5, width=160, height=120)
    assert frames_of(clip, Selection(start=60)) == []


def test_how_much_is_done() -> None:
    part = Selection(start=10, end=20)
    assert [part.share(t, 100.0) for t in (5, 10, 15, 25)] == [0, 0, 0.5, 1]
    assert Selection().share(3, None) is None
    assert Selection(end=60).share(15, None) == 0.25
    assert Selection(start=200).share(210, 100.0) is None


def test_times_are_read() -> None:
    assert [seconds_of(text) for text in ("90", "7.5", "1:30", "1:30.5", "0:01:30", "2:00:00")] == [
        90, 7.5, 90, 90.5, 90, 7200,
    ]  # fmt: skip
    for wrong in ("", "x", "1:99", "1:2:3:4", "-5", "1.5:30", "nan", "inf"):
        with pytest.raises(UsageError, match="no time in a video"):
            seconds_of(wrong)


def test_what_cannot_be_selected() -> None:
    for wrong in ({"start": -1}, {"start": 5, "end": 5}, {"stride": 0}, {"rate": 0}, {"rate": 5, "stride": 2}):
        with pytest.raises(UsageError):
            Selection(**wrong)


def test_a_device_that_cannot_decode_leaves_it_to_the_processor(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", frames=5, width=160, height=120)
    with pytest.raises(UsageError, match="cannot be decoded with 'abacus'"):
        open_video(clip, hardware="abacus")
    if not hardware_decoders():
        pytest.skip("this FFmpeg knows no device to decode with")
    with open_video(clip) as plain, open_video(clip, hardware=hardware_decoders()[0]) as other:
        for a, b in zip(plain, other, strict=True):
            assert np.abs(a.image.astype(int) - b.image.astype(int)).mean() < 1
