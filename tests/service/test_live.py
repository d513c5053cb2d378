"""Cameras to count in, and readings over time."""

import base64
import json
import math
import time

import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
pytest.importorskip("httpx2", reason="comes with the extra `test`")
from starlette.testclient import TestClient

from crowdcount.ground import Ground, camera_of_tilt
from crowdcount.images.read import decode
from crowdcount.live.backoff import Backoff
from crowdcount.live.log import LiveReading, Outage
from crowdcount.live.reader import StreamReader
from crowdcount.live.readings import Readings
from crowdcount.live.source import Source, parse_sources
from crowdcount.service import cameras
from crowdcount.service.app import create_app
from crowdcount.service.cameras import Cameras
from crowdcount.service.history import POINTS, read_history
from crowdcount.service.limits import Refused
from crowdcount.video.smoothing import Reading
from tests.support.service import image_bytes, tiny_predictor
from tests.support.video import frame_image, place, write_video

HOUR = 3600.0


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return tiny_predictor(tmp_path_factory.mktemp("counter") / "release")


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    path = tmp_path_factory.mktemp("video") / "walk.mp4"
    write_video(path, [frame_image(index) for index in range(20)], "mpeg4")
    return path


def client_of(predictor, **parts):
    return TestClient(create_app(predictor, **parts), base_url="http://localhost")


def test_a_camera_is_counted_and_shown(predictor, video):
    client = client_of(predictor, cameras=Cameras(parse_sources([f"gate 1={video}".replace(" ", "-")])))
    assert client.get("/info").json()["cameras"] == ["gate-1"]
    zones = json.dumps(
        {"left": [[0, 0], [80, 0], [80, 120], [0, 120]], "right": [[80, 0], [160, 0], [160, 120], [80, 120]]}
    )
    answer = client.post("/cameras/gate-1/count", params={"frame": True, "density": True, "zones": zones}).json()
    shown = decode(base64.b64decode(answer["frame"]), "frame")
    assert shown.shape == (120, 160, 3) and 0 <= place(shown) < 20
    assert answer["image"] == "gate-1" and answer["width"] == 160
    assert sum(zone["count"] for zone in answer["zones"]) == pytest.approx(answer["count"], rel=1e-5)
    assert sum(map(sum, answer["density"]["values"])) == pytest.approx(answer["count"], abs=1e-3)
    assert client.post("/cameras/gate-1/count").json()["frame"] is None


def test_people_per_square_metre_of_a_camera(predictor, video):
    ground = Ground(camera_of_tilt((320, 240), height=6, focal=300, tilt=35))  # of images of another size, same shape
    parts = {"cameras": Cameras(parse_sources([f"gate={video}", f"bare={video}"])), "grounds": {"gate": ground}}
    client = client_of(predictor, **parts)
    assert client.get("/info").json()["grounds"] == ["gate"]
    zones = json.dumps({"near": [[0, 60], [160, 60], [160, 120], [0, 120]]})
    answer = client.post("/cameras/gate/count", params={"frame": True, "density": True, "zones": zones}).json()
    shown, whole, [near] = decode(base64.b64decode(answer["frame"]), "frame"), answer["ground"], answer["zones"]
    assert whole["people_per_m2"] * whole["area_m2"] == pytest.approx(
        (1 - whole["not_measured_count"]) * answer["count"], rel=1e-4
    )
    assert near["ground"]["area_m2"] < whole["area_m2"] and near["ground"]["level"] in "ABCDEF"
    areas = [area for row in answer["density"]["areas"] for area in row if area is not None]
    assert sum(areas) == pytest.approx(whole["area_m2"], rel=1e-3)
    bare = client.post("/cameras/bare/count", params={"density": True}).json()
    assert bare["ground"] is bare["density"]["areas"] is None
    data = image_bytes(height=120, width=160)
    sent = client.post("/count", params={"ground": "gate", "zones": zones}, content=data).json()
    assert sent["ground"]["area_m2"] == pytest.approx(whole["area_m2"]) and shown.shape == (120, 160, 3)
    drawn = client.post(
        "/count", params={"ground": "gate", "zones": zones}, content=data, headers={"Accept": "image/png"}
    )
    assert decode(drawn.content, "drawing").shape[0] > 120
    assert client.post("/count?ground=bare", content=data).status_code == 404
    other = client.post("/count?ground=gate", content=image_bytes(height=90, width=160))
    assert other.status_code == 422 and "320 x 240" in other.json()["error"]


@pytest.mark.parametrize("name", ["gate", "rtsp:%2F%2F10.0.0.1%2Fx", "..%2F..%2Fetc%2Fpasswd"])
def test_only_cameras_that_were_named_are_opened(predictor, video, name):
    def refuse(source):
        raise AssertionError(f"{source} was opened")

    client = client_of(predictor, cameras=Cameras(parse_sources([f"walk={video}"]), refuse))
    assert client.post(f"/cameras/{name}/count").status_code in (404, 405)


def test_a_camera_that_is_off_is_told_without_its_password(predictor, monkeypatch):
    monkeypatch.setattr(cameras, "_PATIENCE", 0.5)
    source = Source("gate", "network", "tcp://admin:secret@127.0.0.1:9/")
    answer = client_of(predictor, cameras=Cameras([source])).post("/cameras/gate/count")
    assert answer.status_code == 502 and answer.json()["error"].startswith("gate gives no image (")
    assert "secret" not in answer.text


def test_a_camera_that_refuses_is_told_without_waiting_for_long(monkeypatch):
    monkeypatch.setattr(cameras, "_PATIENCE", 600.0)
    source = Source("gate", "network", "tcp://127.0.0.1:9/")
    with pytest.raises(Refused, match="gate gives no image"):
        Cameras([source], lambda source: StreamReader(source, backoff=Backoff(0.01, 0.01))).frame("gate")


@pytest.fixture
def readings(tmp_path):
    with Readings(tmp_path / "readings.sqlite") as log:
        yield log


def add(readings, source, times, count):
    for moment in times:
        value = count(moment)
        readings.add(LiveReading(source, moment, Reading(0, math.nan, value, value / 2)))


def test_a_history_summarises_all_readings(readings):
    readings.begin("gate", "0", 0.0)
    add(readings, "gate", [10.0 + 6 * n for n in range(599)], lambda moment: moment % 60)
    found = read_history(readings, None, 1.0, now=HOUR)
    assert found.source == "gate" and found.sources == ["gate"]
    assert len(found.points) <= POINTS + 1
    assert [point.time for point in found.points] == sorted(point.time for point in found.points)
    assert min(point.low for point in found.points) == 4 and max(point.high for point in found.points) == 58
    assert all(point.low / 2 <= point.count <= point.high / 2 for point in found.points)
    assert found.since <= found.points[0].time and found.points[-1].time <= found.until + HOUR / POINTS
    assert read_history(readings, "gate", 1 / 60, now=HOUR).points[0].time > HOUR - 61


def test_a_history_has_the_outages_and_no_readings_in_them(readings):
    readings.begin("gate", "0", 0.0)
    add(readings, "gate", [100.0, 200.0, 2000.0], lambda _: 7)
    readings.add(Outage("gate", 200.0, 2000.0, "no answer"))
    found = read_history(readings, "gate", 1.0, now=HOUR)
    assert [(each.began, each.ended, each.reason) for each in found.outages] == [(200.0, 2000.0, "no answer")]
    assert not [point for point in found.points if 210 < point.time < 1990]


def test_readings_are_served(predictor, readings):
    now = time.time()
    for source in ("gate", "square"):
        readings.begin(source, "0", now - 100)
    add(readings, "square", [now - 50], lambda _: 12)
    client = client_of(predictor, readings=readings)
    assert client.get("/info").json()["readings"] is True
    found = client.get("/readings", params={"source": "square", "hours": 1}).json()
    assert found["sources"] == ["gate", "square"] and found["points"][0]["high"] == 12
    assert client.get("/readings").json()["points"] == []
    assert client.get("/readings?source=nobody").json()["points"] == []
    for hours in ("0", "-1", "1e9", "nan", "x"):
        assert client.get("/readings", params={"hours": hours}).status_code == 422
    missing = client_of(predictor)
    assert missing.get("/readings").status_code == 404 and missing.get("/info").json()["readings"] is False


def test_no_readings_at_all_are_no_error(readings):
    found = read_history(readings, None, 24)
    assert found.source is None and found.points == [] and found.sources == []
