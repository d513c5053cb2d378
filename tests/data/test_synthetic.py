import pickle
import subprocess
import sys
import zlib

import numpy as np
import pytest

from crowdcount.data.synthetic import render as scene_paint
from crowdcount.data.synthetic import scenes as synthetic
from crowdcount.data.synthetic.layout import Layout, arrange
from crowdcount.data.synthetic.scenes import Scene, Synthetic
from crowdcount.errors import InputError
from crowdcount.geometry import as_points, inside


@pytest.fixture(scope="module")
def source():
    return Synthetic()


@pytest.fixture(scope="module")
def train(source):
    return source.records("train")


def test_sizes_names_and_shapes(source, train):
    assert [len(source.records(split)) for split in ("train", "val", "test")] == [200, 40, 60]
    assert len({record.name for record in train}) == 200
    image = train[0].read()
    assert image.shape == (288, 384, 3) and image.dtype == np.uint8
    assert train[0].points.shape == (train[0].count, 2) and train[0].points.dtype == np.float32


def test_counts_vary_widely(train):
    counts = np.array([record.count for record in train])
    assert 2 <= np.count_nonzero(counts == 0) <= 25
    assert counts.max() <= 200 and counts.max() > 170
    assert np.percentile(counts, 25) < 30 and np.percentile(counts, 75) > 100


def test_points_are_inside_and_sorted_by_depth(train):
    for record in train:
        assert inside(record.points, 384, 288).all()
        assert (np.diff(record.points[:, 1]) >= 0).all()


def test_heads_keep_their_distance():
    for seed in range(8):
        layout = arrange(np.random.default_rng(seed), 150, 384, 288)
        points = layout.points.astype(float)
        apart = np.linalg.norm(points[:, None] - points, axis=2) + 1e9 * np.eye(len(points))
        unit = layout.slope * (points[:, 1] - layout.horizon)
        assert (apart.min(axis=1) > 0.6 * unit).all()


def test_heads_grow_down_the_picture(train):
    layout = arrange(np.random.default_rng(0), 100, 384, 288)
    assert 1 < layout.unit(float(layout.points[0, 1])) < layout.unit(float(layout.points[-1, 1])) < 0.05 * 288


def test_order_and_length_do_not_matter(train):
    again = Synthetic(train=30).records("train")
    for index in (29, 3, 17):
        np.testing.assert_array_equal(again[index].read(), train[index].read())
        np.testing.assert_array_equal(again[index].points, train[index].points)


def test_another_process_draws_the_same_scene(train):
    code = (
        "import sys, zlib; from crowdcount.data import Synthetic; record = Synthetic().records('train')[7];"
        "print(zlib.crc32(record.read().tobytes()), zlib.crc32(record.points.tobytes()), 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[:2] == [str(zlib.crc32(train[7].read().tobytes())), str(zlib.crc32(train[7].points.tobytes()))]
    assert out[2] == "False"


def test_scenes_stay_what_they_are(source):
    # A change here changes every number measured on generated scenes: say so where they are printed.
    assert [record.count for record in source.records("test")[:8]] == [47, 149, 3, 38, 104, 157, 63, 140]
    np.testing.assert_allclose(source.records("test")[1].points[:2], [[341.153, 97.535], [246.706, 97.641]], atol=0.01)


def test_splits_and_seeds_share_nothing(source):
    pictures = [record.read() for split in ("train", "val", "test") for record in source.records(split)[:4]]
    pictures += [record.read() for record in Synthetic(train=4, seed=1).records("train")]
    assert len({picture.tobytes() for picture in pictures}) == 16


def test_points_need_no_pixels(monkeypatch):
    def refuse(*_):
        raise AssertionError("a record was painted")

    monkeypatch.setattr(synthetic, "paint", refuse)
    records = Synthetic(train=3).records("train")
    with pytest.raises(AssertionError):
        records[0].read()


def test_records_can_be_sent_to_workers(train):
    copy = pickle.loads(pickle.dumps(train[5]))
    np.testing.assert_array_equal(copy.read(), train[5].read())
    np.testing.assert_array_equal(train[5].image.points, train[5].points)


@pytest.mark.parametrize("place", [(60.3, 70.8), (200.5, 100.0), (301.25, 180.6)])
def test_a_head_is_drawn_around_its_point(monkeypatch, place):
    # Without light and noise, the picture with one person differs from the empty one by that person alone.
    monkeypatch.setattr(scene_paint, "_expose", lambda rng, image: image)
    monkeypatch.setattr(scene_paint, "_shadows", lambda rng, image, layout: None)
    empty = Layout(384, 288, -40.0, 0.03, 0.8, as_points([]), ())
    person = Layout(384, 288, -40.0, 0.03, 0.8, as_points([place]), ())
    for seed in range(6):
        ground, picture = (scene_paint.paint(np.random.default_rng(seed), layout) for layout in (empty, person))
        changed = np.abs(picture.astype(int) - ground).max(axis=2) > 12
        unit = person.unit(place[1])
        rows, columns = np.nonzero(changed)
        head = rows + 0.5 < place[1] + 0.3 * unit
        assert abs((columns[head] + 0.5).mean() - place[0]) < 0.25 * unit
        assert abs(rows.min() - (place[1] - unit)) < 0.35 * unit + 1
        assert changed[int(place[1]), int(place[0])]


def test_whoever_is_in_front_hides_who_is_behind(monkeypatch):
    monkeypatch.setattr(scene_paint, "_expose", lambda rng, image: image)
    people = scene_paint.People(
        np.random.default_rng(0), Layout(100, 100, -20.0, 0.1, 0.8, as_points([[50, 40], [50, 44]]), ())
    )
    canvas = np.zeros((100, 100, 3), np.uint8)
    people.draw(canvas, 0)
    people.draw(canvas, 1)
    alone = np.zeros_like(canvas)
    people.draw(alone, 1)
    np.testing.assert_array_equal(canvas[44:60, 50], alone[44:60, 50])


@pytest.mark.parametrize(("width", "height", "people"), [(32, 32, 1500), (640, 48, 300), (48, 640, 300), (97, 61, 0)])
def test_any_size_and_crowd(width, height, people):
    for record in Synthetic(train=6, width=width, height=height, max_people=people).records("train"):
        assert record.read().shape == (height, width, 3)
        assert inside(record.points, width, height).all()
        assert record.count <= people


@pytest.mark.parametrize("count", [0, 1, 37, 200])
def test_everybody_finds_a_place(count):
    for seed in range(10):
        assert len(arrange(np.random.default_rng(seed), count, 384, 288).points) == count


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train": -1}, "train is -1"),
        ({"seed": -3}, "seed is -3"),
        ({"width": 8}, "width is 8"),
        ({"max_people": -1}, "max_people"),
    ],
)
def test_impossible_arguments_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        Synthetic(**arguments)


def test_a_scene_is_a_value():
    assert Scene(0, 1, 2, 64, 48, 10) == Scene(0, 1, 2, 64, 48, 10)
