"""`openau report`: the page holds what the table says, whatever the table, and nothing that it must not."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from long_tables import COLUMNS, recording
from typer.testing import CliRunner

from openau.cli import app
from openau.errors import InputError, UsageError
from openau.facs import AUS
from openau.report import page as pages
from openau.report import render, write_report
from openau.report.media import find_media
from openau.report.muscles import face_svg
from openau.report.provenance import provenance_of
from openau.result import Faces
from openau.sinks import open_sink
from openau.sinks.sidecar import write_sidecar
from openau.weights.store import resolve_model

EVIL = '</script><script>alert("x")</script><img src=x onerror=alert(1)>.mp4'


class Reader(HTMLParser):
    """Elements with their attributes, and the text of each kind."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self._open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        while self._open and self._open.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts.setdefault(self._open[-1], []).append(data)


def data_of(page: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert found
    return json.loads(found[1])


def text_of(page: str) -> str:
    body = re.sub(r"<script.*?</script>|<style.*?</style>", "", page, flags=re.DOTALL)
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def two_bumps() -> Faces:
    return recording([(12, 2.0, 3.0), (6, 2.2, 2.8), (12, 6.0, 6.5)])


def test_events_and_numbers_are_those_of_the_table() -> None:
    page = render(two_bumps())
    data = data_of(page)
    person = data["people"][0]
    codes = [a["code"] for a in data["aus"]]
    events = {(codes[i], onset, offset): peak for i, onset, apex, offset, peak, strength in person["events"]}
    assert set(events) == {("AU12", 2.0, 3.0), ("AU06", 2.2, 2.8), ("AU12", 6.0, 6.52)}  # 6.5 s lies between two frames
    assert all(abs(peak - 0.9) < 1e-3 for peak in events.values())
    words = text_of(page)
    assert re.search(r"AU12 lip corner puller 15 % 2 12\.0 0\.76 s", words), words[1500:3000]
    assert re.search(r"AU6 cheek raiser 6 % 1 6\.0 0\.60 s", words)
    assert "AU1 inner brow raiser 0 % 0 0.0 –" in words
    assert "clip.mp4 10.0 s 250 100 % 1" in words


def test_together_reads_from_row_to_column() -> None:
    """AU6 never came without AU12, but AU12 came without AU6."""
    words = text_of(render(two_bumps()))
    matrix = words.split("in percent" if "in percent" in words else "In percent")[1]
    assert re.search(r"AU6 cheek raiser 100 15", matrix)
    assert re.search(r"AU12 lip corner puller 39 38", matrix)  # 15 of 38 frames


def test_the_diagram_shows_one_side_where_one_side_moves() -> None:
    page = render(two_bumps())
    values = {
        (a["data-au"], a["data-side"]): float((a["style"] or "").split(":")[1])
        for tag, a in Reader(page).elements
        if tag == "g" and a.get("class") == "muscle"
    }
    assert values["12", "L"] == 1  # the most frequent: the scale's end, which is told
    assert '<span data-top="15 %">15 %</span>' in page
    assert values["12", "R"] == 0
    assert values["6", "L"] == values["6", "R"] == pytest.approx(15 / 38, abs=1e-3)
    assert {au for au, _ in values} == {"1", "6", "12", "26"}


def test_every_au_has_a_muscle_in_the_diagram() -> None:
    drawn = face_svg(dict.fromkeys(AUS, (1.0, 1.0)))
    assert {int(n) for n in re.findall(r'data-au="(\d+)" data-side="L"', drawn)} == set(AUS)
    for unit in AUS.values():
        assert html.escape(unit.muscle) in drawn


def test_a_hostile_file_name_is_text() -> None:
    faces = Faces.concatenate([recording([(12, 2, 3)], source=EVIL), recording([(6, 2, 3)], source="b.mp4")])
    page = render(faces)
    read = Reader(page)
    assert [tag for tag, _ in read.elements].count("script") == 3
    assert not [tag for tag, a in read.elements if "onerror" in a]
    assert EVIL in "".join(read.texts["th"])
    assert data_of(page)["people"][0]["source"] in (EVIL, "b.mp4")


def test_nothing_is_asked_of_any_other_machine() -> None:
    page = render(two_bumps())
    read = Reader(page)
    for tag, attributes in read.elements:
        for name in ("src", "href", "data", "action", "poster"):
            assert not re.match(r"(https?:)?//", attributes.get(name) or ""), (tag, attributes)
    policy = next(a["content"] or "" for tag, a in read.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    for script in read.texts["script"][1:]:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


def test_the_plotting_library_is_the_published_one() -> None:
    content = (pages.FILES / "uPlot.iife.min.js").read_bytes()
    assert hashlib.sha256(content).hexdigest() == pages.UPLOT_SHA256
    assert b"MIT License" in (pages.FILES / "uPlot.LICENSE").read_bytes()


def test_the_title_is_the_name_without_its_folder() -> None:
    page = render(recording([(12, 2, 3)], source="/home/me/study/clip.mp4"))
    assert "".join(Reader(page).texts["h1"]) == "clip.mp4"


def test_the_same_table_gives_the_same_bytes() -> None:
    assert render(two_bumps()) == render(two_bumps())


def test_two_hours_stay_small_and_keep_a_peak_of_one_frame(tmp_path: Path) -> None:
    faces = recording([(12, t, t + 1.5) for t in range(60, 7200, 90)], seconds=7200, seed=3)
    faces.values[100_003, 0] = 0.99  # AU01, in one frame at 4000.12 s
    path = write_report(faces, tmp_path / "long.html")
    assert path.stat().st_size < 2_000_000
    person = data_of(path.read_text(encoding="utf-8"))["people"][0]
    times = np.frombuffer(base64.b64decode(person["times"]), "<f4")
    values = np.frombuffer(base64.b64decode(person["values"]), np.uint8).reshape(len(person["names"]), -1)
    assert len(times) == person["points"] <= 41_000
    assert (np.diff(times) > 0).all()
    top = values[person["names"].index("AU01")].argmax()
    assert values[person["names"].index("AU01"), top] == round(0.99 * 250)
    assert abs(times[top] - 100_003 / 25) <= person["stretch"] + 1e-2


def test_many_faces_share_the_room(tmp_path: Path) -> None:
    crowd = Faces.concatenate(
        [recording([(12, 2, 3)], seconds=10 + 60 * (i < 14), face_id=i, source=f"{i}.mp4") for i in range(30)]
    )
    page = render(crowd)
    assert len(data_of(page)["people"]) == 12
    assert "18 more faces were seen" in text_of(page)
    assert len(page) < 1_500_000


def test_frames_without_the_face_break_the_curve() -> None:
    faces = recording([(12, 2, 3)])
    faces = Faces.concatenate([faces[:100], faces[200:]])
    person = data_of(render(faces))["people"][0]
    values = np.frombuffer(base64.b64decode(person["values"]), np.uint8).reshape(len(person["names"]), -1)
    assert (values == 255).all(axis=0).sum() == 1


def test_pictures_are_listed_one_by_one() -> None:
    stills = [recording([(12, 0, 1)] if i % 2 else [], seconds=0.04, source=f"p{i}.jpg") for i in range(5)]
    page = render(Faces.concatenate([*stills, Faces.no_face(COLUMNS, "wall.jpg")]))
    data = data_of(page)
    assert [p["label"] for p in data["pictures"]] == [f"p{i}.jpg" for i in range(5)]
    index = [a["code"] for a in data["aus"]].index("AU12")
    assert [p["values"][index] for p in data["pictures"]][1] == pytest.approx(0.9, abs=1e-3)
    words = text_of(page)
    assert "5 faces in pictures" in words
    assert "wall.jpg picture 1 0 % 0" in words
    assert "AU12 lip corner puller 40 %" in words


def test_quality_flags_of_the_table_are_told() -> None:
    columns = type(COLUMNS)(COLUMNS.occurrence, COLUMNS.intensity, COLUMNS.sided, ("is_blurred", "sharpness"))
    faces = recording([(12, 2, 3)], columns=columns)
    faces.values[:, columns.names.index("is_blurred")] = np.arange(250) < 50
    faces.values[:, columns.names.index("sharpness")] = 7
    faces.pose[:25, 1] = 60
    words = text_of(render(faces))
    assert "blurred 20.0 % of the faces" in words
    assert "sharpness median 7" in words
    assert "turned away 10.0 %" in words


def test_a_table_s_sidecar_says_how_it_was_made(tmp_path: Path) -> None:
    card, _ = resolve_model("default")
    table = tmp_path / "clip.csv"
    with open_sink(table, COLUMNS) as sink:
        sink.write(two_bumps())
    write_sidecar(table, COLUMNS, "csv", {"model": card.name, "sha256": card.asset.sha256, "calibrate": "True"})
    provenance = provenance_of(table)
    assert provenance.card == card
    words = text_of(render(two_bumps(), provenance=provenance))
    assert card.name in words
    assert "calibrate: True" in words
    assert card.limits.split(".")[0] in words
    (tmp_path / "clip.json").write_text("{}")
    assert provenance_of(table).card is None


def test_what_cannot_be_reported_is_one_sentence() -> None:
    empty = two_bumps()[[]]
    with pytest.raises(InputError, match="no rows"):
        render(empty)
    faces = two_bumps()
    faces.timestamp[:] = np.nan
    with pytest.raises(UsageError, match=r"clip\.mp4: the table tells no times"):
        render(faces)
    backwards = two_bumps()[::-1]
    with pytest.raises(InputError, match=r"clip\.mp4"):
        render(backwards)


def test_media_is_only_what_was_named(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_text("")
    faces = two_bumps()
    assert find_media(faces, [tmp_path], []) == {}
    assert find_media(faces, [tmp_path], [tmp_path]) == {"clip.mp4": tmp_path / "clip.mp4"}
    other = tmp_path / "moved.mp4"
    other.write_text("")
    assert find_media(faces, [], [other]) == {"clip.mp4": other}
    both = Faces.concatenate([faces, recording([], source="b.mp4")])
    with pytest.raises(InputError, match="not about this file"):
        find_media(both, [], [other])
    with pytest.raises(InputError, match="no such file"):
        find_media(faces, [], [tmp_path / "gone.mp4"])


@pytest.mark.weights
def test_key_frames_show_the_face_and_nothing_else(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 50)
    faces = recording([(12, 0.4, 0.9), (6, 1.2, 1.6)], seconds=2.0)
    faces.box[:] = (80, 60, 220, 260)
    page = render(faces, {"clip.mp4": clip}, folder=tmp_path)
    pictures = [a["src"] or "" for tag, a in Reader(page).elements if tag == "img"]
    assert len(pictures) == 2
    assert all(p.startswith("data:image/jpeg;base64,") for p in pictures)
    assert '<video controls preload="none" src="clip.mp4">' in page
    assert "holds pictures of faces" in text_of(page)
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video")
    words = text_of(render(faces, {"clip.mp4": broken}))
    assert "broken.mp4" in words
    assert "In numbers" in words


@pytest.mark.weights
def test_a_video_is_detected_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 12)
    done = CliRunner().invoke(app, ["report", "clip.mp4"])
    assert done.exit_code == 0, done.output
    words = text_of((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "clip.mp4 0.5 s 12 100 % 1" in words
    assert "fantrans_facemesh" in words


@pytest.mark.weights
def test_a_detected_table_tells_its_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_clip(tmp_path / "clip.mp4", 6)
    for arguments in (["detect", "clip.mp4", "-o", "clip.csv"], ["report", "clip.csv", "-o", "clip.html"]):
        done = CliRunner().invoke(app, arguments)
        assert done.exit_code == 0, done.output
    words = text_of((tmp_path / "clip.html").read_text(encoding="utf-8"))
    card, _ = resolve_model("default")
    assert f"Model {card.name} SHA-256 {card.asset.sha256}" in words
    assert card.trained_on.split(".")[0] in words
    assert "says nothing about its model" not in words


def test_a_folder_with_its_index(tmp_path: Path) -> None:
    for name in ("a.mp4", "b.mp4"):
        with open_sink(tmp_path / f"{name[0]}.csv", COLUMNS) as sink:
            sink.write(recording([(12, 2, 3)], source=name))
    write_sidecar(tmp_path, COLUMNS, settings={"model": "some.model"})
    (tmp_path / "index.csv").write_text("source,output,frames,faces,seconds,status,message\n")
    out = tmp_path / "out.html"
    done = CliRunner().invoke(app, ["report", str(tmp_path), "-o", str(out)])
    assert done.exit_code == 0, done.output
    words = text_of(out.read_text(encoding="utf-8"))
    assert "2 recordings" in words
    assert "Model some.model" in words


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["gone.csv"], 1, "gone.csv: there is no such file"),
        (["notes.csv"], 1, "notes.csv: has the columns a, b"),
        (["notes.csv", "-o", "page.pdf"], 2, "end its name with .html"),
        (["clip.csv", "-o", "no/page.html"], 1, "does not exist"),
        (["clip.csv", "--rate", "0"], 2, "not above 0"),
    ],
)
def test_wrong_calls_are_one_sentence(
    arguments: list[str], code: int, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("notes.csv").write_text("a,b\n1,2\n")
    with open_sink("clip.csv", COLUMNS) as sink:
        sink.write(two_bumps())
    done = CliRunner().invoke(app, ["report", *arguments])
    assert done.exit_code == code
    assert words in done.output
    assert "Traceback" not in done.output
    assert not list(tmp_path.glob("*.html"))


def test_without_jinja_the_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    pages.load_template.cache_clear()
    with pytest.raises(Exception, match=r"pip install 'openau\[report\]'"):
        render(two_bumps())
