"""What `Faces` show of themselves in notebooks."""

from __future__ import annotations

import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from long_tables import COLUMNS, recording

from openau.errors import MissingExtraError
from openau.overlay import CONTOURS
from openau.result import Faces


def still(source: str = "photo.jpg", landmarks: bool = False) -> Faces:
    faces = recording([(12, 0, 1)], seconds=0.04, source=source)
    rng = np.random.default_rng(0)
    points = rng.uniform(0, 100, (1, 468, 3)).astype(np.float32)
    return replace(faces, landmarks=points) if landmarks else faces


class Balanced(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.words = ""
        self.tags: list[str] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.open.append(tag)
        self.tags.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words += f" {data}"


def test_a_picture_s_repr_tells_what_is_present_and_on_which_side() -> None:
    read = Balanced(still()._repr_html_())
    assert "photo.jpg, face 0" in read.words
    assert "AU12 lip corner puller, left 0.90 · 4.0" in " ".join(read.words.split())
    assert "AU6" not in read.words
    assert "svg" not in read.tags


def test_landmarks_are_drawn_as_contours() -> None:
    read = Balanced(still(landmarks=True)._repr_html_())
    assert read.tags.count("polygon") + read.tags.count("polyline") == len(CONTOURS)


def test_a_recording_s_repr_tells_shares_of_the_time() -> None:
    read = Balanced(recording([(12, 0, 5), (6, 0, 2)])._repr_html_())
    words = " ".join(read.words.split())
    assert "250 rows, 250 with a face" in words
    assert words.index("AU12 lip corner puller 50%") < words.index("AU6 cheek raiser 20%")


def test_a_hostile_name_is_text() -> None:
    read = Balanced(still("<script>alert(1)</script>.jpg")._repr_html_())
    assert "script" not in read.tags
    assert "<script>alert(1)</script>.jpg, face 0" in read.words


def test_many_faces_and_none() -> None:
    crowd = Faces.concatenate([still(f"{i}.jpg") for i in range(9)])
    assert "and 3 more" in Balanced(crowd._repr_html_()).words
    assert "0 with a face" in Balanced(Faces.no_face(COLUMNS, "wall.jpg")._repr_html_()).words


def test_plot_has_a_bar_per_au_as_long_as_its_value() -> None:
    figure = Faces.concatenate([still(), recording([(12, 0, 5)])]).plot()
    picture, clip = figure.axes
    widths = [bar.get_width() for bar in picture.patches]
    assert widths == pytest.approx([0.1, 0.1, 0.9, 0.1], abs=0.03)
    assert [bar.get_width() for bar in clip.patches] == pytest.approx([0, 0, 0.5, 0])
    assert (picture.get_xlabel(), clip.get_xlabel()) == ("probability", "share of the time")
    with pytest.raises(ValueError, match="no face"):
        Faces.no_face(COLUMNS, "wall.jpg").plot()


def test_timeline_shades_the_events_of_the_face_seen_longest() -> None:
    brief = recording([(6, 1, 2)], seconds=4, face_id=1)
    faces = Faces.concatenate([recording([(12, 2, 3), (26, 5, 6)]), brief])
    order = np.argsort(faces.timestamp, kind="stable")
    figure = faces[order].timeline()
    assert [axis.get_ylabel().split()[0] for axis in figure.axes] == ["AU12", "AU26"]
    (event,) = figure.axes[0].patches
    assert (event.get_x(), event.get_x() + event.get_width()) == pytest.approx((2, 3))
    assert figure.axes[-1].get_xlabel() == "seconds"
    assert [a.get_ylabel().split()[0] for a in faces[order].timeline(face_id=1).axes] == ["AU6"]
    with pytest.raises(ValueError, match="no face 7"):
        faces[order].timeline(face_id=7)
    with pytest.raises(ValueError, match="one recording"):
        still().timeline()


def test_overlay_is_the_annotated_picture() -> None:
    image = np.full((300, 300, 3), 90, np.uint8)
    seen = still().overlay(image)
    assert seen.shape == image.shape
    assert (seen != image).any()
    assert (image == 90).all()


def test_without_matplotlib_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'openau\[plots\]'"):
        still().plot()
