import pickle
import subprocess
import sys
import zlib

import cv2
import numpy as np
import pytest

from crowdcount.data import ReferringScenes
from crowdcount.data.synthetic import referring as referring_scenes
from crowdcount.data.synthetic.referring import ReferringScene
from crowdcount.errors import InputError
from crowdcount.geometry import inside

COLOURS = {"red": (205, 45, 45), "green": (50, 165, 65), "blue": (50, 80, 205), "yellow": (230, 205, 50)}


@pytest.fixture(scope="module")
def source():
    return ReferringScenes()


@pytest.fixture(scope="module")
def train(source):
    return source.records("train")


def test_sizes_names_and_shapes(source, train):
    assert [len(source.records(split)) for split in ("train", "val", "test")] == [200, 40, 60]
    assert len({record.name for record in train}) == 200
    for record in train[:5]:
        image = record.read()
        assert image.shape == (96, 96, 3) and image.dtype == np.uint8
        assert record.points.shape == (record.count, 2) and record.points.dtype == np.float32


def test_expressions_name_a_colour_each(train):
    for record in train:
        names = [expression.attribute for expression in record.expressions]
        assert len(set(names)) == len(names) and set(names) <= set(COLOURS)
        for expression in record.expressions:
            assert expression.text == f"person in {expression.attribute}"
            assert (expression.category, expression.kind) == ("person", "color")
        assert sum(len(expression.points) > 0 for expression in record.expressions) >= 2
        together = np.concatenate([expression.points for expression in record.expressions])
        np.testing.assert_array_equal(record.points, together)


def test_counts_and_colours_vary(train):
    counts = np.bincount([record.count for record in train], minlength=11)
    assert len(counts) == 11 and counts[:2].sum() == 0 and counts[2:].min() >= 8
    worn = [sum(len(e.points) > 0 for e in record.expressions) for record in train]
    assert {2, 3, 4} == set(worn)
    named = [expression.attribute for record in train for expression in record.expressions]
    assert min(named.count(name) for name in COLOURS) > 100


def test_some_scenes_name_a_colour_that_nobody_wears(train):
    empty = [[len(e.points) for e in record.expressions].count(0) for record in train]
    assert max(empty) == 1
    assert 20 <= sum(empty) <= 60
    absent = {e.attribute for record in train for e in record.expressions if not len(e.points)}
    assert absent == set(COLOURS)


def test_heads_have_the_colour_of_their_expression(train):
    palette = np.array(list(COLOURS.values()), float)
    seen, named = [], []
    for record in train:
        picture = record.read()
        for expression in record.expressions:
            for x, y in expression.points:
                patch = picture[int(y) - 1 : int(y) + 2, int(x) - 1 : int(x) + 2].reshape(-1, 3).astype(float)
                seen.append(np.linalg.norm(palette - np.median(patch, axis=0), axis=1).argmin())
                named.append(list(COLOURS).index(expression.attribute))
    assert np.mean(np.equal(seen, named)) > 0.995  # where two overlap, one may hide the middle of the other


def test_nothing_else_in_a_scene_is_coloured(train):
    for record in train[:40]:
        picture = record.read()
        rows, columns = np.mgrid[:96, :96] + 0.5
        far = np.ones((96, 96), bool)
        for x, y in record.points:
            far &= np.hypot(columns - x, rows - y) > 10
        smooth = cv2.GaussianBlur(picture, (5, 5), 2).astype(int)
        chroma = smooth.max(axis=2) - smooth.min(axis=2)
        assert chroma[far].max() < 60
        assert all(chroma[int(y), int(x)] > 60 for x, y in record.points)


@pytest.mark.parametrize("place", [(20.0, 30.0), (48.7, 51.3), (70.5, 10.25)])
def test_a_head_is_drawn_around_its_point(monkeypatch, place):
    # Without its shadow, everything that is drawn for a head is around its point and of the stated size.
    monkeypatch.setattr(referring_scenes, "_SHADE", 1.0)
    for seed in range(6):
        canvas = np.full((96, 96, 3), 128, np.uint8)
        referring_scenes._head(np.random.default_rng(seed), canvas, *place, COLOURS["red"])
        rows, columns = np.nonzero(np.abs(canvas.astype(int) - 128).max(axis=2) > 50)
        assert abs((columns + 0.5).mean() - place[0]) < 0.25
        assert abs((rows + 0.5).mean() - place[1]) < 0.25
        assert 3.8 <= np.sqrt(len(rows) / np.pi) <= 6.2


def test_points_are_inside_and_few_heads_overlap(train):
    overlaps = 0
    for record in train:
        assert inside(record.points - 4, 88, 88).all()
        apart = np.linalg.norm(record.points[:, None] - record.points, axis=2)[np.triu_indices(record.count, 1)]
        overlaps += np.count_nonzero(apart < 8)
    assert overlaps <= 2


def test_order_and_length_do_not_matter(train):
    again = ReferringScenes(train=30).records("train")
    for index in (29, 3, 17):
        np.testing.assert_array_equal(again[index].read(), train[index].read())
        np.testing.assert_array_equal(again[index].points, train[index].points)


def test_another_process_draws_the_same_scene(train):
    code = (
        "import sys, zlib; from crowdcount.data import ReferringScenes; r = ReferringScenes().records('train')[7];"
        "print(zlib.crc32(r.read().tobytes()), zlib.crc32(r.points.tobytes()), 'torch' in sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert out[:2] == [str(zlib.crc32(train[7].read().tobytes())), str(zlib.crc32(train[7].points.tobytes()))]
    assert out[2] == "False"


def test_scenes_stay_what_they_are(source):
    # A change here changes every number measured on generated scenes: say so where they are printed.
    records = source.records("test")[:4]
    assert [{e.attribute: len(e.points) for e in record.expressions} for record in records] == [
        {"blue": 4, "yellow": 6},
        {"red": 3, "green": 4, "blue": 3},
        {"green": 1, "blue": 2},
        {"red": 1, "green": 1, "blue": 1, "yellow": 1},
    ]
    np.testing.assert_allclose(records[0].points[:2], [[46.421, 79.85], [52.344, 5.736]], atol=0.01)


def test_splits_and_seeds_share_nothing(source):
    pictures = [record.read() for split in ("train", "val", "test") for record in source.records(split)[:4]]
    pictures += [record.read() for record in ReferringScenes(train=4, seed=1).records("train")]
    assert len({picture.tobytes() for picture in pictures}) == 16


def test_expressions_need_no_pixels(monkeypatch):
    def refuse(*_):
        raise AssertionError("a record was painted")

    monkeypatch.setattr(referring_scenes, "_ground", refuse)
    records = ReferringScenes(train=3).records("train")
    with pytest.raises(AssertionError):
        records[0].read()


def test_records_can_be_sent_to_workers(train):
    copy = pickle.loads(pickle.dumps(train[5]))
    np.testing.assert_array_equal(copy.read(), train[5].read())
    assert [e.text for e in copy.expressions] == [e.text for e in train[5].expressions]
    for kept, expression in zip(copy.expressions, train[5].image.expressions, strict=True):
        np.testing.assert_array_equal(kept.points, expression.points)


@pytest.mark.parametrize(("size", "people"), [(32, 2), (32, 200), (250, 3), (97, 40)])
def test_any_size_and_crowd(size, people):
    records = ReferringScenes(train=12, size=size, max_people=people).records("train")
    assert max(record.count for record in records) <= people
    for record in records[:3]:
        assert record.read().shape == (size, size, 3)
        assert inside(record.points, size, size).all()
        assert record.count >= 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"train": -1}, "train is -1; give 0 or more"),
        ({"seed": -3}, "seed is -3"),
        ({"size": 8}, "size is 8; give 32 or more"),
        ({"max_people": 1}, "max_people is 1; give 2 or more"),
    ],
)
def test_impossible_arguments_are_refused(arguments, words):
    with pytest.raises(InputError, match=words):
        ReferringScenes(**arguments)


def test_a_scene_is_a_value():
    assert ReferringScene(0, 1, 2, 64, 10) == ReferringScene(0, 1, 2, 64, 10)
