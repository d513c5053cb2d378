"""Models behind one protocol: what each kind can do, and predictions beside the annotation."""

import numpy as np
import pytest
import torch

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference
from crowdcount.inference.model import KINDS, CrowdModel
from crowdcount.inference.peaks import density_peaks
from crowdcount.inference.plotting import comparison
from crowdcount.inference.points import PointInference, PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.metrics.localisation import predicted_radius
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.visualize.captions import count_text, panel
from crowdcount.visualize.density import draw_points, expression_panel, overlay
from crowdcount.zoo.config import build

IMAGE = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
TRUTH = np.array([[10, 10], [40.5, 20.25]], np.float32)


class Brightness(DensityNetwork):
    stride = size_divisor = 8

    def __init__(self):
        super().__init__()
        self.scale = torch.nn.Parameter(torch.ones(1))

    def forward(self, image):
        return CountMap(torch.nn.functional.avg_pool2d(image.mean(1, keepdim=True), 8).relu() * self.scale)


@pytest.fixture(scope="module")
def density():
    return crowdcount.Model(Brightness().eval(), name="bright")


@pytest.fixture(scope="module")
def referring():
    torch.manual_seed(0)
    network = crowdcount.create_model("rec/tiny_scenes")
    return crowdcount.ReferringModel(network, PointInference(0.0, 0.0, crowded_fraction=1), name="finder")


def test_a_model_of_each_kind_is_typed_as_that_alone(density, referring):
    assert density.density_model() is density and referring.referring_model() is referring
    with pytest.raises(InputError, match=r"finder counts what expressions name"):
        referring.density_model()
    with pytest.raises(InputError, match=r"bright reads no text"):
        density.referring_model()
    with pytest.raises(InputError, match=r"this model reads no text"):
        crowdcount.Model(density.network).predict_each(IMAGE, ["person"])
    assert {kind.reads_text for kind in KINDS} == {True, False}


def test_every_model_predicts_through_one_method(density, referring):
    (found,) = density.predict_each(IMAGE)
    assert found.count == density.predict(IMAGE).count > 0
    image = IMAGE.repeat(3, axis=0).repeat(3, axis=1)
    pairs = zip(referring.predict_each(image, ["red", "blue"]), referring.predict(image, ["red", "blue"]), strict=True)
    assert all(np.array_equal(one.points, two.points) and one.text == two.text for one, two in pairs)


def test_the_protocol_in_words(density):
    assert density.protocol == "images as they are; in one pass"
    windows = crowdcount.Model(density.network, Inference(window=32, window_stride=16))
    assert windows.protocol == "images as they are; windows of 32 px every 16 px, overlaps averaged"
    assert PointInference(max_tiling_depth=1).protocol == str(PointInference(max_tiling_depth=1))


def test_predictions_have_their_points_cells_and_radius_in_common():
    values = np.zeros((3, 4), np.float32)
    values[1, 2] = 1.5
    seen = Prediction(1.5, values, 8, 24, 32)
    np.testing.assert_array_equal(seen.points_in(48, 64), 2 * density_peaks(seen))
    assert seen.points_in(48, 64, peak_threshold=2).shape == (0, 2) and seen.relative_radius is None
    sizes = np.array([[8, 6], [16, 12]], np.float32)
    found = PointPrediction("red", TRUTH, sizes, np.ones(2, np.float32), 48, 64)
    np.testing.assert_allclose(found.points_in(96, 128), 2 * TRUTH)
    assert found.relative_radius == predicted_radius(sizes / np.array([64, 48]))
    assert seen.cells(1).sum() == pytest.approx(1.5) and found.cells(1).tolist() == [[1, 1], [0, 0]]


def test_predictions_are_drawn_beside_the_annotation():
    seen = Prediction(1.5, np.full((6, 8), 1.5 / 48, np.float32), 8, 48, 64)
    expected = [("truth 2", draw_points(IMAGE, TRUTH)), (count_text(1.5, 2), overlay(IMAGE, seen.density, 8))]
    assert np.array_equal(comparison(IMAGE, [seen], [TRUTH]), panel(expected))
    sizes, scores = np.ones((2, 2), np.float32), np.ones(2, np.float32)
    found = [PointPrediction(text, TRUTH, sizes, scores, 48, 64) for text in ("red", "blue")]
    expected = expression_panel(IMAGE, [("red", TRUTH, 1), ("blue", TRUTH, 2)])
    assert np.array_equal(comparison(IMAGE, found, [TRUTH[:1], TRUTH]), expected)
    large = Prediction(1.5, np.full((12, 16), 1.5 / 192, np.float32), 8, 96, 128)
    assert comparison(IMAGE, [large], [TRUTH]).shape[0] > 96


def test_a_network_of_no_kind_is_refused(monkeypatch):
    monkeypatch.setattr("crowdcount.zoo.config.KINDS", (crowdcount.ReferringModel,))
    config = {"model": {"init_args": {"network": f"{__name__}.Brightness"}}}
    with pytest.raises(InputError, match=r"mine: network: Brightness is neither ReferringDetector; no model accepts"):
        build(config, "mine")
    monkeypatch.undo()
    assert isinstance(build(config, "mine"), CrowdModel)


def test_a_file_in_place_of_an_array_is_refused_with_what_reads_it(density):
    with pytest.raises(InputError, match=r"not str; read it with crowdcount\.images\.read_image"):
        density.predict("photo.jpg")
