"""Coordinates that are in pixels of their image, and those that are not."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.data import Folder, ShanghaiTech
from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.size import upright_size
from crowdcount.plausibility import Annotation, check_columns, check_polygon, check_stated_size, find_doubts

SIZE = (800, 600)
RNG = np.random.default_rng(3)


def crowd(count, size=SIZE):
    return as_points(RNG.uniform([0, 0], size, (count, 2)))


def refused(*images):
    return [doubt.refused for doubt in find_doubts(images)]


FRACTIONS = crowd(30) / np.array(SIZE, np.float32)


@pytest.mark.parametrize(
    ("images", "found"),
    [
        ([crowd(30)], []),
        ([FRACTIONS], [True]),
        ([FRACTIONS[:1], FRACTIONS[1:2], FRACTIONS[2:3]], [True]),  # one head in each image
        ([crowd(30), FRACTIONS[:6]], [True]),  # one image of several
        ([crowd(30), FRACTIONS[:2]], [False]),
        ([FRACTIONS[:1]], [False]),
        ([as_points([[0, 0], [1, 0], [0, 1]])], []),  # integers are pixels
        ([crowd(30) * 2], [True]),  # of a larger copy
        ([crowd(30) * 2, crowd(400)], [True]),
        ([crowd(30) / 2], [False]),  # of a smaller copy, or heads on the left
        ([crowd(30), crowd(30) / 2], [False]),
        ([crowd(10) / 80, crowd(10) / 80, crowd(10) / 80], [True]),  # of a tiny copy
        ([np.stack([np.zeros(8), crowd(8)[:, 0]], 1)], [False]),  # a class read as x
        ([np.stack([np.arange(30) % 2, crowd(30)[:, 1]], 1)] * 3, [True]),
        ([(crowd(400, (790, 600)) / 100).astype(int) * 100], []),  # columns, but all over the image
        ([as_points([])], []),
        ([as_points([[-3, 900.5]])], []),  # a single head outside
    ],
)
def test_frames(images, found):
    assert refused(*(Annotation(f"{i}.jpg", as_points(each), SIZE) for i, each in enumerate(images))) == found


def test_the_reason_is_said():
    def text(points, size=SIZE):
        return find_doubts([Annotation("a.jpg", as_points(points), size)])[0].text

    assert text(FRACTIONS).startswith("a.jpg: all coordinates lie between 0 and 1")
    assert "30 of 30 points lie outside the image of 800 x 600 pixels" in text(crowd(30) + 800)
    upright = crowd(30, (600, 800))
    upright[:20, 1] = 700
    assert "inside with x and y exchanged; write x first" in text(upright)
    assert "upper left part" in text(crowd(30) / 2)


def test_without_a_size_only_the_numbers_are_judged():
    assert refused(Annotation("a.jpg", FRACTIONS)) == [True]
    assert refused(Annotation("a.jpg", crowd(30) * 9)) == []


@st.composite
def scenes(draw):
    """Images of one data set with few heads, a crowd, or heads about one place; every head is some pixels wide."""
    width, height = draw(st.tuples(st.integers(64, 4000), st.integers(64, 4000)) | st.just((70, 3000)))
    seed, whole = draw(st.integers(0, 2**32 - 1)), draw(st.booleans())
    rng = np.random.default_rng(seed)
    images = []
    for i in range(draw(st.integers(1, 8))):
        count = draw(st.integers(0, 60) | st.just(500))
        points = rng.uniform([0, 0], [width, height], (count, 2))
        if draw(st.booleans()):  # a group that may stand at the edge
            spread = draw(st.floats(3, 200))
            points = np.abs(rng.uniform([0, 0], [width, height]) + rng.normal(0, spread, (count, 2)))
            points = np.minimum(points, np.array([width, height]) - 0.01)
        images.append(Annotation(f"{i}.jpg", as_points(points.astype(int) if whole else points), (width, height)))
    return images


@given(scenes())
def test_no_scene_of_pixels_is_refused(images):
    assert not [doubt for doubt in find_doubts(images) if doubt.refused]


@given(scenes())
def test_fractions_of_a_scene_are_named(images):
    marked = [image for image in images if len(image.points) and (image.points.min() > 0)]
    wrong = [Annotation(image.name, image.points / np.array(image.size, np.float32), image.size) for image in marked]
    assert bool(find_doubts(wrong)) == bool(wrong)
    if sum(len(np.unique(image.points, axis=0)) for image in wrong) >= 20:
        assert [doubt.refused for doubt in find_doubts(wrong)] == [True]


def test_real_annotations_raise_no_doubt(shared):
    data = shared / "data"
    sources = [(ShanghaiTech(data / "ShanghaiTech", part), split) for part in "AB" for split in ("train", "test")][:3]
    for source, split in [*sources, (Folder(data / "extra" / "scut_head"), "train")]:
        records = source.records(split)
        images = [Annotation(each.name, each.points, upright_size(each.image)) for each in records]
        assert all(image.size for image in images)
        assert find_doubts(images) == []
        for image in images:
            assert refused(image) in ([], [False]) or pytest.fail(image.name)


def test_images_of_one_name_are_kept_apart():
    outside = np.concatenate([crowd(7), crowd(3) + np.float32(SIZE)])
    images = [Annotation("a.jpg", points, SIZE) for points in (crowd(10) + np.float32(SIZE), outside, crowd(100))]
    assert [doubt.refused for doubt in find_doubts(images)] == [True, False]


def rows(text):
    return [(f"line {i}", line.split()) for i, line in enumerate(text.splitlines(), 1)]


@pytest.mark.parametrize(
    "text",
    [
        "0 512.5 300\n0 400 200\n0 300 100",
        "0 512 300 20 30\n1 400 200 20 30\n0 300 100 20 30\n1 5 9 20 20\n0 7 8 20 20\n1 9 7 20 20",  # boxes in pixels
        "3 0.5 0.25\n3 0.4 0.2\n3 0.1 0.9",
    ],
)
def test_a_class_before_x_and_y_is_refused(text):
    with pytest.raises(InputError, match=r"a\.txt: line 1 is .*a class"):
        check_columns("a.txt", rows(text))


@pytest.mark.parametrize(
    "text",
    ["10 20 5 6 0 1", "512 300\n0 5\n0 6\n0 7", "0 512 300\n40 1 2\n77 5 5", "512 0 1\n512 7 2\n512 9 3", "x y z"],
)
def test_other_columns_are_no_class(text):
    check_columns("a.txt", rows(text))


def test_further_columns_of_a_narrow_image_are_no_class():
    check_columns("a.txt", rows("".join(f"{x} {y} {x * y}\n" for x in range(60) for y in range(9))))


def test_polygons_smaller_than_a_pixel_are_refused():
    for corners in ([(0.1, 0.2), (0.9, 0.2), (0.5, 0.8)], [(121.47, 31.23), (121.48, 31.23), (121.48, 31.24)]):
        with pytest.raises(InputError, match=r"zone: reaches from .* less than a pixel"):
            check_polygon("zone", corners)
    check_polygon("zone", [(0, 0), (1, 0), (1, 1)])
    check_polygon("zone", [(0.5, 0.5), (9.5, 0.5), (9.5, 0.9)])


def test_stated_sizes_are_compared():
    check_stated_size("a.json", None, SIZE, "a.jpg")
    check_stated_size("a.json", SIZE, SIZE, "a.jpg")
    with pytest.raises(InputError, match=r"a\.json: states 400 x 300 pixels, but a\.jpg has 800 x 600 upright"):
        check_stated_size("a.json", (400, 300), SIZE, "a.jpg")
    with pytest.raises(InputError, match=r"600 x 800 pixels \(turned"):
        check_stated_size("a.json", (600, 800), SIZE, "a.jpg")
