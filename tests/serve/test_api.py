"""The API: photos, videos, cards, counters, and its description."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import skimage.data
from clips import write_clip
from PIL import Image
from serving import Serving, serving, until

import openau
from openau.errors import UsageError
from openau.serve.settings import Settings
from openau.weights import store

pytestmark = pytest.mark.weights


@pytest.fixture(scope="module")
def photo() -> bytes:
    """A smiling astronaut (NASA, public domain)."""
    out = io.BytesIO()
    Image.fromarray(skimage.data.astronaut()).save(out, "PNG")
    return out.getvalue()


@pytest.fixture(scope="module")
def api() -> Iterator[Serving]:
    with serving() as running:
        yield running


def test_a_photo_is_judged_as_the_detector_judges_it(api: Serving, photo: bytes) -> None:
    answer = api.client.post("/v1/detect", files={"file": ("me.png", photo)}, params={"landmarks": True})
    assert answer.status_code == 200
    found = answer.json()
    expected = openau.Detector().detect(skimage.data.astronaut())
    assert (found["faces"], found["width"], found["height"], found["source"]) == (1, 512, 512, "me.png")
    (row,) = found["rows"]
    assert list(row) == list(expected.column_names)
    for name in expected.column_names[1:]:
        assert row[name] == pytest.approx(float(expected.column(name)[0]), abs=0.006), name
    assert row["AU12"] > 0.9 > 0.1 > row["AU04"]
    points = np.reshape(found["landmarks"][0], (468, 2))
    assert expected.landmarks is not None
    assert np.abs(points - expected.landmarks[0, :, :2]).max() <= 0.051
    assert api.files() == []


def test_a_plain_body_and_csv(api: Serving, photo: bytes) -> None:
    headers = {"Content-Type": "image/png", "Accept": "text/csv"}
    answer = api.client.post("/v1/detect", content=photo, headers=headers, params={"name": "me.png"})
    assert answer.headers["content-type"].startswith("text/csv")
    (row,) = csv.DictReader(io.StringIO(answer.text))
    as_json = api.client.post("/v1/detect", files={"file": ("me.png", photo)}).json()["rows"][0]
    assert {k: v for k, v in row.items() if k != "source"} == {
        k: f"{v:.{len(row[k].partition('.')[2])}f}" for k, v in as_json.items() if k != "source"
    }


def test_a_photo_without_a_face_is_a_row_with_empty_fields(api: Serving) -> None:
    wall = io.BytesIO()
    Image.new("RGB", (200, 200), "grey").save(wall, "PNG")
    found = api.client.post("/v1/detect", files={"file": ("wall.png", wall.getvalue())}).json()
    assert found["faces"] == 0
    assert found["rows"][0]["AU12"] is None


def test_every_model_can_be_asked_for_and_no_path(api: Serving, photo: bytes) -> None:
    told = api.client.get("/v1/models").json()
    assert {model["name"] for model in told["models"]} == set(store.card_files())
    (default,) = [model["name"] for model in told["models"] if model["default"]]
    assert default == store.card("default").name
    card = store.card(default)
    shown = next(model for model in told["models"] if model["name"] == default)
    assert [unit["number"] for unit in shown["aus"]] == sorted(card.aus)
    assert shown["measured"].keys() == card.measured.keys()
    assert shown["limits"] == card.limits
    for name in ("../../etc/passwd", "nothing.at_all", "/tmp/x.onnx"):
        answer = api.client.post("/v1/detect", files={"file": ("me.png", photo)}, params={"model": name})
        assert answer.status_code == 404, name
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_video_is_a_job_whose_table_is_the_detector_s(api: Serving, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 24)
    with clip.open("rb") as file:
        answer = api.client.post("/v1/detect", files={"file": ("my clip ü.mp4", file)})
    assert answer.status_code == 202
    place = answer.headers["location"]
    assert place == f"/v1/jobs/{answer.json()['id']}"
    job = api.finished(place)
    assert (job["state"], job["frames"], job["progress"], job["problem"]) == ("done", 24, 1.0, None)
    assert set(job["formats"]) == {"csv", "jsonl", "parquet"}
    assert not any("upload" in name for name in api.files()), "the video itself is gone"
    expected = openau.Detector().detect(clip)
    table = api.client.get(f"{place}/result")
    assert 'filename="my_clip___aus.csv"' in table.headers["content-disposition"]
    rows = list(csv.DictReader(io.StringIO(table.text)))
    assert [float(row["AU12"]) for row in rows] == pytest.approx(expected.column("AU12").tolist(), abs=1e-4)
    assert {row["source"] for row in rows} == {"my clip ü.mp4"}
    assert len(api.client.get(f"{place}/result", params={"format": "jsonl"}).text.splitlines()) == 24
    assert api.client.get(f"{place}/result", params={"format": "parquet"}).content[:4] == b"PAR1"
    assert api.client.delete(place).status_code == 204
    assert api.client.get(place).status_code == 404
    assert api.files() == []


def test_results_are_deleted_after_their_time(tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 3)
    with serving(keep_seconds=0.5) as api:
        place = api.client.post("/v1/detect", files={"file": ("clip.mp4", clip.read_bytes())}).headers["location"]
        job = api.finished(place)
        assert 0 <= job["kept_for"] <= 0.5
        assert until(lambda: api.client.get(place).status_code == 404)
        assert api.files() == []
        folder = api.folder
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_a_running_job_can_be_deleted(api: Serving, tmp_path: Path) -> None:
    clip = write_clip(tmp_path / "clip.mp4", 150)
    place = api.client.post("/v1/detect", files={"file": ("clip.mp4", clip.read_bytes())}).headers["location"]
    assert until(lambda: api.client.get(place).json()["frames"] > 0, 30)
    assert api.client.get(f"{place}/result").status_code == 409
    assert api.client.delete(place).status_code == 204
    assert api.files() == []


def test_health_and_metrics(api: Serving) -> None:
    assert api.client.get("/healthz").json() == {"status": "ok", "version": openau.__version__}
    before = samples(api.client.get("/metrics").text)
    assert api.client.get("/v1/nowhere").status_code == 404
    api.client.get("/healthz")
    answer = api.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    after = samples(answer.text)
    ok = 'openau_requests_total{method="GET",route="/healthz",status="200"}'
    lost = 'openau_requests_total{method="GET",route="other",status="404"}'
    assert after[ok] == before[ok] + 1
    assert after[lost] == before.get(lost, 0) + 1
    buckets = [v for k, v in after.items() if k.startswith('openau_request_seconds_bucket{route="/healthz"')]
    assert buckets == sorted(buckets)
    assert buckets[-1] == after['openau_request_seconds_count{route="/healthz"}'] == after[ok]
    assert after["openau_live_sessions"] == 0


def samples(text: str) -> dict[str, float]:
    """Prometheus' text format, strictly: every sample belongs to the last `# TYPE`."""
    found = {}
    kind = ""
    for line in text.splitlines():
        if line.startswith("#"):
            kind = line.split()[2]
            continue
        match = re.fullmatch(r'([a-z_]+)(\{(?:[a-z_]+="(?:[^"\\]|\\.)*",?)*\})? ([0-9.e+-]+)', line)
        assert match, line
        assert match[1].startswith(kind)
        found[match[1] + (match[2] or "")] = float(match[3])
    return found


def test_the_description_names_every_route_and_its_errors(api: Serving) -> None:
    document = api.client.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/healthz", "/metrics", "/v1/models", "/v1/detect", "/v1/jobs/{id}", "/v1/jobs/{id}/result", "/v1/jobs/{id}/report",
    }  # fmt: skip
    detect = document["paths"]["/v1/detect"]["post"]
    assert {"200", "202", "400", "401", "413", "415", "422", "503"} <= set(detect["responses"])
    assert "application/problem+json" in detect["responses"]["415"]["content"]
    assert "multipart/form-data" in detect["requestBody"]["content"]
    referred = set(re.findall(r'"#/components/schemas/(\w+)"', api.client.get("/openapi.json").text))
    assert referred <= set(document["components"]["schemas"])
    assert document["components"]["schemas"]["Photo"]["properties"]["rows"]["examples"]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "example.org"])
def test_open_to_others_only_with_a_token(host: str) -> None:
    with pytest.raises(UsageError, match="--token"):
        Settings(host=host)
    with pytest.raises(UsageError, match="too short"):
        Settings(host=host, token="secret")
    Settings(host=host, token="0123456789abcdef")
