"""The file of intervals: a round trip, and what is refused."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.intervals import Intervals, Scale, calibrate, calibrate_zones, hash_counts

FACTS = {"sha256": "0" * 64, "protocol": "in one pass", "data": "sha/val", "about": "streets", "fingerprint": "f" * 64}


def intervals(**more):
    rng = np.random.default_rng(0)
    true, predicted = rng.integers(0, 90, 40).tolist(), rng.uniform(0, 90, 40).tolist()
    image = calibrate(true, predicted, rng.uniform(1, 9, 40).tolist(), Scale("variance"), [30])
    return Intervals(**FACTS, image=image, choosing=3, **more)


def test_round_trip_keeps_every_interval(tmp_path):
    path, made = tmp_path / "best.intervals.json", intervals()
    made.save(path)
    read = Intervals.read(path)
    assert {key: getattr(read, key) for key in FACTS} == FACTS and read.choosing == 3
    assert read.zones is None and read.window is None and read.frames == 0
    for count, level in ((10.0, 0.8), (50.0, 0.9), (1e6, 0.5), (20.0, 0.999)):
        assert read.image.interval(count, 4.0, level) == made.image.interval(count, 4.0, level)
    first = path.read_bytes()
    read.save(path)
    assert path.read_bytes() == first


def test_zones_and_windows_are_kept(tmp_path):
    path = tmp_path / "intervals.json"
    zones = calibrate_zones([[1, 2], [3, 4]], [[1.0, 2.5], [3.0, 4.0]])
    intervals(zones=zones, areas={"door": "a" * 64}, window=zones, frames=10).save(path)
    read = Intervals.read(path)
    assert dict(read.areas) == {"door": "a" * 64} and read.frames == 10
    assert read.zones.interval(2.0, level=0.5) == zones.interval(2.0, level=0.5)
    assert read.window.counts == zones.counts


def test_an_approximate_calibration_stays_one(tmp_path):
    path, made = tmp_path / "intervals.json", intervals()
    replace(made, image=replace(made.image, approximate=True)).save(path)
    assert Intervals.read(path).image.approximate and json.loads(path.read_text())["image"]["approximate"] is True
    intervals().save(path)
    assert not Intervals.read(path).image.approximate and "approximate" not in path.read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "schema 2"),
        ({"about": ""}, "about is ''"),
        ({"choosing": -1}, "choosing is -1"),
        ({"image": []}, "image is"),
        ({"areas": {"door": 3}}, r"areas\.door is '3'"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, message):
    path = tmp_path / "intervals.json"
    intervals().save(path)
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(InputError, match=message):
        Intervals.read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"scores": [[2, 1], []]}, "image: scores: must be in ascending order"),
        ({"scores": [[1, 2]]}, "image: groups"),
        ({"scores": [[1, "x"], []]}, r"image\.scores\[1\] is 'x'"),
        ({"scale": {"form": "other", "offset": 1}}, "image: scale: 'other' is not one of"),
        ({"counts": [1]}, r"image\.counts is"),
    ],
)
def test_damaged_scores_are_refused(tmp_path, change, message):
    path = tmp_path / "intervals.json"
    intervals().save(path)
    content = json.loads(path.read_text())
    content["image"] |= change
    path.write_text(json.dumps(content))
    with pytest.raises(InputError, match=message):
        Intervals.read(path)


def test_fingerprint_is_of_names_and_counts_in_any_order():
    images = [("a.jpg", 3), ("b.jpg", 4.5)]
    assert hash_counts(images) == hash_counts(reversed(images)) != hash_counts([("a.jpg", 3)])
    assert hash_counts(images) != hash_counts([("a.jpg", 4.5), ("b.jpg", 3)])


def test_a_file_holds_no_infinity(tmp_path):
    made = intervals()
    endless = Intervals(**FACTS, image=calibrate([1.0], [2.0]), window=None)
    object.__setattr__(endless.image, "counts", (0.0, math.inf))
    with pytest.raises(ValueError, match="JSON"):
        endless.save(tmp_path / "intervals.json")
    assert not list(tmp_path.iterdir()) and made.image is not None
