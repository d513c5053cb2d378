# ruff: noqa: E402 (what the extra lacks is skipped before it is imported)
"""The API: counts, zones, what is refused and why, the token, and that nothing is stored."""

import asyncio
import io
import json
import os
import sys
import threading
from pathlib import Path

import numpy as np
import PIL.Image
import pytest

pytest.importorskip("fastapi", reason="needs the extra `serve`")
httpx = pytest.importorskip("httpx2", reason="comes with the extra `test`")
from starlette.testclient import TestClient

from benchmarks.damaged import damaged_files
from crowdcount.images.read import decode
from crowdcount.inference.prediction import Prediction
from crowdcount.service.app import create_app
from crowdcount.service.counting import _answer
from crowdcount.service.settings import Settings
from crowdcount.visualize.drawing_mark import is_drawing
from crowdcount.zones import parse_zones, zone_counts
from tests.support.service import TOKEN, image_bytes, tiny_predictor

LEFT, RIGHT = [[0, 0], [41.3, 0], [33, 60], [0, 60]], [[41.3, 0], [90, 0], [90, 60], [33, 60]]


@pytest.fixture(scope="module")
def predictor(tmp_path_factory):
    return tiny_predictor(tmp_path_factory.mktemp("counter") / "release")


@pytest.fixture
def client(predictor):
    return TestClient(create_app(predictor), base_url="http://localhost")


def with_settings(predictor, **settings):
    return TestClient(create_app(predictor, Settings(**settings)), base_url="http://localhost")


def form(data, name="photo.png", **fields):
    return {"files": {"image": (name, data)}, "data": fields}


def test_the_count_is_that_of_the_package(client, predictor):
    data = image_bytes()
    expected = predictor.predict(decode(data, "x")).count
    answer = client.post("/count", **form(data)).json()
    assert answer["count"] == pytest.approx(expected, rel=1e-6) and expected > 1
    assert (answer["image"], answer["width"], answer["height"], answer["model"]) == ("photo.png", 90, 60, "tiny")
    assert answer["interval"] is answer["points"] is answer["density"] is None and answer["zones"] == []
    raw = client.post("/count?name=photo.png", content=data, headers={"Content-Type": "image/png"}).json()
    assert raw == answer and not answer["doubtful"]


@pytest.mark.parametrize(("difference", "doubtful"), [(None, False), (-27.9, False), (28.1, True), (-28.1, True)])
def test_counts_that_differ_between_two_sizes_are_doubtful(predictor, difference, doubtful):
    blocks = None if difference is None else np.array([[difference]], np.float32)
    found = Prediction(40.0, np.full((1, 1), 40, np.float32), 16, 16, 16, size_difference=blocks)
    assert _answer(predictor, "a.png", found, [], (16, 16), 0.9).doubtful == doubtful


@pytest.mark.parametrize("how", ["field", "file", "query", "geojson"])
def test_zones_that_divide_an_image_add_up(client, how):
    zones = {"left, =1+1": LEFT, "right": RIGHT}
    text = json.dumps(zones)
    if how == "geojson":
        shapes = {name: {"type": "Polygon", "coordinates": [[*ring, ring[0]]]} for name, ring in zones.items()}
        features = [{"type": "Feature", "properties": {"name": n}, "geometry": g} for n, g in shapes.items()]
        text = json.dumps({"type": "FeatureCollection", "features": features})
    data = image_bytes()
    if how == "query":
        answer = client.post("/count", params={"zones": text}, content=data)
    elif how == "file":
        files = {"image": ("a.png", data), "zones": ("zones.json", b"\xef\xbb\xbf" + text.encode())}
        answer = client.post("/count", files=files)
    else:
        answer = client.post("/count", **form(data, zones=text))
    found = answer.json()
    assert [zone["name"] for zone in found["zones"]] == list(zones)
    assert sum(zone["count"] for zone in found["zones"]) == pytest.approx(found["count"], rel=1e-5)


def test_intervals_are_those_of_the_calibration(tmp_path):
    predictor = tiny_predictor(tmp_path / "release", calibrated=True)
    client = with_settings(predictor, level=0.8)
    data = image_bytes()
    expected = predictor.predict(decode(data, "x")).interval(0.8)
    found = client.post("/count", **form(data, zones=json.dumps({"left": LEFT}))).json()
    assert found["interval"]["level"] == 0.8 and found["interval"]["state"] == expected.state
    assert found["interval"]["low"] == pytest.approx(expected.low, rel=1e-6)
    assert found["zones"][0]["interval"]["state"] == "uncalibrated" and found["zones"][0]["interval"]["high"] is None
    assert client.get("/info").json()["level"] == 0.8


def test_density_and_points_are_given_on_request(client):
    answer = client.post("/count?density=true&points=true", **form(image_bytes())).json()
    density = answer["density"]
    values = np.array(density["values"])
    assert values.sum() == pytest.approx(answer["count"], abs=1e-3)
    assert values.shape == (-(-60 // density["block_height"]), -(-90 // density["block_width"]))
    assert answer["points"] and all(0 <= x < 90 and 0 <= y < 60 for x, y in answer["points"])


def test_the_drawing_is_a_png_with_the_zones(client, tmp_path):
    data = image_bytes()
    accept = {"Accept": "image/png"}
    plain = client.post("/count", content=data, headers=accept)
    zoned = client.post("/count", content=data, headers=accept, params={"zones": json.dumps({"left": LEFT})})
    assert plain.headers["content-type"] == "image/png"
    assert float(plain.headers["crowdcount-count"]) == pytest.approx(
        client.post("/count", content=data).json()["count"], abs=1e-3
    )
    (tmp_path / "a.png").write_bytes(plain.content)
    assert is_drawing(tmp_path / "a.png")
    images = [np.array(PIL.Image.open(io.BytesIO(each.content))) for each in (plain, zoned)]
    assert images[0].shape[1] >= 90 and images[0].shape[2] == 3
    assert images[0].shape != images[1].shape or (images[0] != images[1]).any()


def bomb(width, height):
    """Return a PNG whose header promises more than it holds."""
    data = bytearray(image_bytes())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "status", "words"),
    [
        (b"Dear reader,\nthis is no image.\n", 415, "notes.txt is not an image that can be read here"),
        (image_bytes("JPEG", 200, 300)[:2000], 422, "damaged"),
        (bomb(30_000, 30_000), 422, "more than its"),
        (b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 9 +X 9\n" + b"\0" * 400, 415, "not an image"),
        (b"", 400, "empty"),
    ],
)
def test_what_is_no_image_is_refused_in_plain_words(client, data, status, words):
    answer = client.post("/count", **form(data, "../C:\\x/notes.txt"))
    assert answer.status_code == status and words in answer.json()["error"]
    assert "/" not in answer.json()["error"] and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("zones", "words"),
    [
        ("{", "not readable as JSON"),
        ("[]", "zones"),
        ('{"a": [[0, 0], [60, 60], [60, 0], [0, 60]]}', "crossing"),
        ('{"a": [[900, 0], [990, 0], [990, 90]]}', "no area inside"),
        (json.dumps({str(n): LEFT for n in range(201)}), "at most 200"),
    ],
)
def test_zones_that_do_not_fit_are_refused(client, zones, words):
    answer = client.post("/count", **form(image_bytes(), zones=zones))
    assert answer.status_code == 422 and words in answer.json()["error"]


@pytest.mark.parametrize(
    ("options", "status"),
    [
        ({"files": {"photo": ("a.png", b"x")}}, 400),
        ({"data": {"image": "text"}, "files": {"zones": ("z", b"{}")}}, 400),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 400),
        ({"content": b"--x\r\nnonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, 400),
        ({"files": [("image", ("a", b"x"))] * 3}, 400),
        ({"files": {"image": ("a.png", b"x"), "zones": ("z", b"\xff\xfe")}}, 422),
        ({"files": {"image": ("a.png", b"x"), "zones": ("z", b" " * (2**20 + 1))}}, 413),
        ({"content": b"x", "params": {"density": "perhaps"}}, 422),
    ],
)
def test_forms_that_are_wrong_are_refused(client, options, status):
    answer = client.post("/count", **options)
    assert answer.status_code == status and answer.json()["error"]


def test_large_uploads_are_refused(predictor):
    client = with_settings(predictor, max_bytes=3000, max_pixels=5000)
    assert client.post("/count", **form(b"\xff\xd8\xff" + b"x" * 3000)).status_code == 413

    def pieces():  # without a Content-Length
        for _ in range(100):
            yield b"x" * 100

    assert client.post("/count", content=pieces()).status_code == 413
    answer = client.post("/count", content=image_bytes(height=72, width=72, seed=1))
    assert answer.status_code == 413 and "72 x 72 pixels" in answer.json()["error"]
    assert client.post("/count", content=image_bytes(height=60, width=60)).status_code == 200


def test_the_token_is_asked_for(predictor):
    client = with_settings(predictor, token=TOKEN)
    answer = client.post("/count", content=b"x")
    assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
    for path in ("/info", "/metrics"):
        assert client.get(path).status_code == 401
    for path in ("/health", "/", "/app.js"):
        assert client.get(path).status_code == 200
    right = {"Authorization": f"Bearer {TOKEN}"}
    assert client.post("/count", content=image_bytes(), headers=right).status_code == 200
    wrong = [client.get("/info", headers={"Authorization": f"Bearer {TOKEN}{n}"}).status_code for n in range(12)]
    assert wrong == [401] * 10 + [429] * 2
    assert client.get("/info", headers=right).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "[::1]:8000", "192.0.2.1:80", "count.example"])
def test_the_service_knows_its_names(predictor, host):
    client = with_settings(predictor, host_names=("count.example",))
    assert client.get("/health", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["evil.example", "localhost.evil.example", "", "[::1", "127.0.0.1.evil.example"])
def test_other_names_are_refused(client, host):
    for path in ("/", "/health", "/info"):
        assert client.get(path, headers={"Host": host}).status_code == 421


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Origin": "http://localhost"}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://localhost:81"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://[::1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
    ],
)
def test_pages_of_other_sites_cannot_use_it(client, headers, status):
    assert client.post("/count", content=image_bytes(), headers=headers).status_code == status
    assert client.get("/info", headers=headers).status_code == status
    assert client.get("/", headers=headers).status_code == 200  # they may link to the page


@pytest.mark.parametrize("path", ["/", "/app.js", "/health", "/count", "/missing", "/openapi.json"])
def test_every_answer_has_the_headers(client, path):
    headers = client.get(path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff" and headers["x-frame-options"] == "DENY"
    assert headers["cache-control"] in ("no-store", "no-cache")


def test_a_client_has_so_many_requests_a_minute(predictor):
    client = with_settings(predictor, rate=2)
    statuses = [client.post("/count", content=image_bytes()).status_code for _ in range(3)]
    assert statuses == [200, 200, 429]
    assert client.get("/health").status_code == 200


def test_measurements_tell_what_happened(client):
    client.post("/count", content=image_bytes())
    client.post("/count", content=b"text")
    text = client.get("/metrics").text
    for line in (
        'crowdcount_answers_total{path="/count",status="200"} 1.0',
        'crowdcount_answers_total{path="/count",status="415"} 1.0',
        'crowdcount_refused_total{reason="format"} 1.0',
        'crowdcount_seconds_count{step="count"} 2.0',
        "crowdcount_people_count 1.0",
    ):
        assert line in text
    client.get("/a/name/that/nobody/knows")  # makes no new series
    assert "nobody" not in client.get("/metrics").text


def test_the_description_names_the_upload(client):
    description = client.get("/openapi.json").json()
    post = description["paths"]["/count"]["post"]
    assert set(post["requestBody"]["content"]) == {"multipart/form-data", "application/octet-stream"}
    assert {"200", "401", "413", "503"} <= set(post["responses"])
    paths = {"/cameras/{name}/count", "/count", "/health", "/info", "/metrics", "/readings", "/zones"}
    assert set(description["paths"]) == paths
    for path in ("/docs", "/redoc"):  # FastAPI's load scripts from elsewhere
        assert client.get(path).status_code == 404


class Slow:
    """A predictor that waits until it may count."""

    def __init__(self, predictor):
        self._predictor, self.begun, self.may = predictor, threading.Semaphore(0), threading.Event()
        self.counted = 0

    def __getattr__(self, name):
        return getattr(self._predictor, name)

    def predict(self, image):
        self.begun.release()
        assert self.may.wait(30)
        self.counted += 1
        return self._predictor.predict(image)


async def until(condition):
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("this took more than 20 seconds")


def test_a_full_queue_refuses_and_health_answers_meanwhile(predictor):
    slow = Slow(predictor)
    app = create_app(slow, Settings(workers=1, queue=1))

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            first = asyncio.create_task(client.post("/count", content=image_bytes()))
            await until(lambda: slow.begun.acquire(blocking=False))
            second = asyncio.create_task(client.post("/count", content=image_bytes(seed=1)))
            await until(lambda: "crowdcount_jobs 2.0" in jobs(app))
            refused = await client.post("/count", content=image_bytes())
            assert refused.status_code == 503 and int(refused.headers["Retry-After"]) >= 1
            assert (await client.get("/health")).status_code == 200
            assert not first.done() and not second.done()
            slow.may.set()
            assert [(await each).status_code for each in (first, second)] == [200, 200]
            await until(lambda: "crowdcount_jobs 0.0" in jobs(app))

    asyncio.run(run())


def jobs(app):
    answer = TestClient(app, base_url="http://localhost").get("/metrics")
    return answer.text


def test_what_takes_too_long_is_given_up_and_keeps_its_place_until_it_ends(predictor):
    slow = Slow(predictor)
    app = create_app(slow, Settings(workers=1, queue=1, count_seconds=0.2))

    async def run():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost", timeout=60) as client:
            answers = await asyncio.gather(*(client.post("/count", content=image_bytes()) for _ in range(2)))
            assert [each.status_code for each in answers] == [503, 503]
            assert "0.2 seconds" in answers[0].json()["error"]
            await until(lambda: "crowdcount_jobs 1.0" in jobs(app))  # the one that waited is gone, the other runs
            slow.may.set()
            await until(lambda: "crowdcount_jobs 0.0" in jobs(app))

    asyncio.run(run())
    assert slow.counted == 1


_written = []


def _note(event, arguments):
    if _written and _written[-1] is not None and event in ("open", "tempfile.mkstemp", "os.rename", "os.mkdir"):
        mode, flags = (*arguments, None, None, None)[1:3]
        reads = event == "open" and (mode in ("r", "rb") if mode else not int(flags or 0) & 0o3)
        if not reads:
            _written.append((event, arguments))


def test_nothing_that_is_uploaded_is_stored(client):
    sys.addaudithook(_note)  # cannot be taken away again
    large = image_bytes("BMP", 800, 800)
    assert len(large) > 2**20  # Starlette writes such files to a temporary one
    client.post("/count", **form(image_bytes()))  # whatever is made once, is made here
    _written.append(True)
    try:
        assert client.post("/count", **form(large, zones=json.dumps({"a": LEFT}))).status_code == 200
        assert client.post("/count", content=large, headers={"Accept": "image/png"}).status_code == 200
        assert client.post("/count", **form(large[:-100])).status_code == 422
        found = _written[1:]
        Path(os.devnull).write_bytes(b"x")  # the note works
        assert len(_written) == 2 + len(found)
    finally:
        _written.append(None)
    assert found == []


def small_files():
    """Return an image in each format that is read."""
    kinds = {
        "JPEG": {},
        "PNG": {},
        "WEBP": {"lossless": True},
        "GIF": {},
        "TIFF": {"compression": "tiff_lzw"},
        "BMP": {},
    }
    kinds |= {"AVIF": {}, "JPEG2000": {}}
    files = [image_bytes(kind, 40, 56, **options) for kind, options in kinds.items()]
    return [*files, image_bytes("JPEG", 40, 56, progressive=True), image_bytes("WEBP", 40, 56)]


@pytest.mark.parametrize("number", [44, pytest.param(200, marks=pytest.mark.long)])
def test_damaged_files_leave_the_service_up(client, number):
    statuses = [client.post("/count", **form(data)).status_code for data in damaged_files(small_files(), number)]
    assert set(statuses) <= {200, 400, 413, 415, 422} and statuses.count(200) < number / 2
    good = client.post("/count", **form(image_bytes()))
    assert good.status_code == 200 and client.get("/health").json() == {"status": "ok"}
    assert "crowdcount_jobs 0.0" in client.get("/metrics").text


def test_the_counts_of_zones_are_those_of_the_package(client, predictor):
    text = json.dumps({"left": LEFT, "right": RIGHT})
    prediction = predictor.predict(decode(image_bytes(), "x"))
    expected = zone_counts(prediction, parse_zones(text, "zones"), 60, 90)
    found = client.post("/count", **form(image_bytes(), zones=text)).json()["zones"]
    assert {zone["name"]: zone["count"] for zone in found} == pytest.approx(expected, rel=1e-6)


def test_zones_are_read_for_images_of_a_size(client):
    zones = {"type": "FeatureCollection", "features": []}
    ring = [[10, 10], [50, 10], [50, 40], [10, 10]]
    feature = {
        "type": "Feature",
        "properties": {"name": "gate"},
        "geometry": {"type": "Polygon", "coordinates": [ring]},
    }
    zones["features"].append(feature)
    size = {"width": 90, "height": 60}
    answer = client.post("/zones", params=size, json=zones)
    assert answer.status_code == 200 and [each["name"] for each in answer.json()] == ["gate"]
    assert sorted(answer.json()[0]["points"]) == sorted(ring[:-1])
    feature["geometry"]["coordinates"].append([[30, 15], [35, 15], [35, 20], [30, 15]])
    for content, words in (
        (json.dumps(zones), "holes"),
        ('{"far": [[100, 100], [200, 100], [200, 200]]}', "no area inside"),
        ("{", "zones"),
        (b"\xff\xfe", "UTF-8"),
    ):
        answer = client.post("/zones", params=size, content=content)
        assert answer.status_code == 422 and words in answer.json()["error"], content
    assert client.post("/zones", params=size, content=b" " * (2**20 + 1)).status_code == 413
    assert client.post("/zones", params=size, json=zones, headers={"Origin": "http://evil.example"}).status_code == 403
    assert client.post("/zones", json=zones).status_code == 422
