"""Pixels under a mask are not counted; zones, points, variance and intervals agree with that."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from shapely import box

import crowdcount
from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask, read_mask
from crowdcount.inference.ignore import without_ignored, without_ignored_points
from crowdcount.inference.points import PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.predictor import Predictor
from crowdcount.zones import Zone, zone_counts, zone_variances


class Brightness(DensityNetwork):
    """Counts a person for each block of 8 pixels of full brightness."""

    stride = 8
    size_divisor = 8
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    predicts_variance = True

    def __init__(self):
        super().__init__()
        self.unused = torch.nn.Parameter(torch.zeros(1))

    def forward(self, image):
        density = torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 8)
        return CountMap(density, variance=density / 2)


def predict(rng, stride, seen):
    density = rng.gamma(0.3, 1.0, [-(-side // stride) for side in seen]).astype(np.float32)
    maps = {"variance": density / 2, "size_difference": -density}
    return Prediction(float(density.sum(dtype=np.float64)), density, stride, *seen, **maps)


def slow(prediction, marked, height, width, fine=8):
    """Sum the people of a prediction at many places of each pixel that are not marked."""
    ys, xs = (np.arange(side * fine) / fine + 0.5 / fine for side in (height, width))
    rows = (ys * prediction.height / height / prediction.stride).astype(int)
    columns = (xs * prediction.width / width / prediction.stride).astype(int)
    kept = ~marked[ys.astype(int)][:, xs.astype(int)]
    shape = prediction.density.shape
    places, rest = np.zeros(shape), np.zeros(shape)
    np.add.at(places, np.ix_(rows, columns), 1)
    np.add.at(rest, np.ix_(rows, columns), kept)
    return prediction.density * rest / places


@pytest.mark.parametrize("seen", [(40, 56), (20, 28), (80, 112)])
def test_blocks_lose_the_share_that_is_marked(seen):
    rng = np.random.default_rng(0)
    prediction, marked = predict(rng, 8, seen), rng.random((40, 56)) < 0.4
    marked[:16, :24] = True
    found = without_ignored(prediction, IgnoreMask(marked), 40, 56)
    np.testing.assert_allclose(found.density, slow(prediction, marked, 40, 56), rtol=1e-5)
    assert found.count == pytest.approx(found.density.sum(dtype=float), rel=1e-6)
    assert found.count < prediction.count
    np.testing.assert_allclose(found.variance, found.density / 2, rtol=1e-6)
    np.testing.assert_allclose(found.size_difference, -found.density, rtol=1e-6)
    wholly = slow(prediction, marked, 40, 56) == 0
    assert wholly.any() and (found.density[wholly] == 0).all()


def test_full_blocks_are_zero_where_edges_cut_through_pixels():
    prediction, marked = predict(np.random.default_rng(1), 8, (37, 203)), np.ones((45, 61), bool)
    marked[:, 50:] = False
    found = without_ignored(prediction, IgnoreMask(marked), 45, 61)
    assert (found.density[:, :20] == 0).all() and (found.density[:, -1] > 0).all()


@pytest.mark.parametrize("seen", [(40, 56), (33, 90)])
def test_zones_that_partition_the_image_add_up_and_hold_nobody_under_the_mask(seen):
    rng = np.random.default_rng(2)
    marked = np.zeros((40, 56), bool)
    marked[5:29, 11:37] = True
    found = without_ignored(predict(rng, 8, seen), IgnoreMask(marked), 40, 56)
    halves = [Zone("left", box(0, 0, 20.5, 40)), Zone("right", box(20.5, 0, 56, 40))]
    counts = zone_counts(found, halves, 40, 56)
    assert sum(counts.values()) == pytest.approx(found.count, rel=1e-6)
    under = [Zone("polygon", box(11, 5, 37, 29)), Zone("pixels", marked)]
    assert list(zone_counts(found, under, 40, 56).values()) == pytest.approx([0, 0], abs=1e-6)
    rest = Zone("rest", ~marked)
    assert zone_counts(found, [rest], 40, 56)["rest"] == pytest.approx(found.count, rel=1e-6)
    assert zone_variances(found, [rest], 40, 56)["rest"] == pytest.approx(found.total_variance, rel=1e-6)
    with pytest.raises(InputError, match="ignore: the mask is 56 x 40 pixels, the image 50 x 40"):
        zone_counts(found, [Zone("all", box(0, 0, 9, 9))], 40, 50)


def test_no_point_lies_on_a_marked_pixel():
    rng = np.random.default_rng(3)
    marked = rng.random((40, 56)) < 0.5
    prediction = predict(rng, 8, (20, 28))
    found = without_ignored(replace(prediction, count=1e9), IgnoreMask(marked), 40, 56)
    points = replace(found, count=1e9).points_in(40, 56)
    assert len(points) and not marked[points[:, 1].astype(int), points[:, 0].astype(int)].any()
    corner = np.zeros((40, 56), bool)
    corner[:4, :4] = True
    places = np.array([[3.9, 3.9], [4, 3], [-1, 2], [56, 3]], np.float32)
    assert IgnoreMask(corner).covers(places, 40, 56).tolist() == [True, False, False, False]


def test_models_and_predictors_count_outside_the_mask(tmp_path):
    image = np.full((40, 56, 3), 255, np.uint8)
    marked = np.zeros((40, 56), bool)
    marked[:, :20] = True
    model = crowdcount.Model(Brightness().eval(), name="bright")
    cv2.imwrite(str(tmp_path / "mask.png"), marked.astype(np.uint8) * 7)
    for form in (marked, tmp_path / "mask.png", str(tmp_path / "mask.png"), IgnoreMask(marked)):
        found = Predictor(model, ignore=form).predict(image)
        assert found.count == pytest.approx(5 * 4.5) and (found.density[:, :2] == 0).all()
        assert crowdcount.predict(image, model, ignore=form).count == found.count
    assert model.ignored is None and Predictor(model).predict(image).count == pytest.approx(35)
    half = Predictor(model, ignore=marked, image_scale=0.5).predict(image)
    assert (half.height, half.width) == (20, 28) and half.count == pytest.approx(2.5 * 3.5 * 36 / 56)
    with pytest.raises(InputError, match=r"mask.png: the mask is 56 x 40 pixels, the image 55 x 40 .*full size"):
        Predictor(model, ignore=tmp_path / "mask.png").predict(image[:, 1:])


def test_a_mask_is_not_that_array_any_more():
    painted = np.zeros((8, 8), bool)
    painted[:4] = True
    mask = IgnoreMask.make(painted)
    painted[:] = True
    assert mask.pixels.sum() == 32


def test_a_drawing_hatches_the_marked_pixels_alone():
    marked = np.zeros((40, 56), bool)
    marked[8:24, 16:40] = True
    prediction = Prediction(0.0, np.zeros((5, 7), np.float32), 8, 40, 56)
    image = np.full((40, 56, 3), (200, 20, 20), np.uint8)
    plain, drawn = prediction.draw(image), replace(prediction, ignored=IgnoreMask(marked)).draw(image)
    changed = (plain != drawn).any(axis=2)[-40:, :56]
    np.testing.assert_array_equal(changed, marked)


def test_masks_that_are_none(tmp_path):
    for value, message in (
        (np.zeros((4, 4), bool), "marks nothing"),
        (np.ones((4, 4), bool), "marks every pixel"),
        (np.ones((4, 4), np.uint8), "expected bool"),
        (tmp_path / "none.png", "none.png: no such mask"),
    ):
        with pytest.raises(InputError, match=message):
            IgnoreMask.make(value)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(InputError, match="a mask is an image"):
        read_mask(tmp_path / "notes.txt")


def test_equal_masks_are_one_and_a_protocol_names_its_mask():
    first, second = (IgnoreMask(np.eye(4, 5, dtype=bool)) for _ in range(2))
    other = IgnoreMask(np.eye(5, dtype=bool))
    assert first == second and hash(first) == hash(second) and first != other
    model = crowdcount.Model(Brightness().eval())
    assert model.for_camera(ignored=first).protocol == model.for_camera(ignored=second).protocol != model.protocol
    assert model.for_camera(ignored=other).protocol != model.for_camera(ignored=first).protocol


def test_found_objects_under_the_mask_are_left_out():
    points = np.array([[1, 1], [9, 9]], np.float32)
    found = PointPrediction("red", points, np.ones((2, 2), np.float32), np.array([0.5, 0.9], np.float32), 20, 20)
    marked = np.zeros((40, 40), bool)
    marked[:10, :10] = True
    kept = without_ignored_points(found, IgnoreMask(marked), 40, 40)
    assert kept.count == 1 and kept.points.tolist() == [[9, 9]] and kept.scores.tolist() == [np.float32(0.9)]
