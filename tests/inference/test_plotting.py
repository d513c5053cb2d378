import weakref

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

import crowdcount
from crowdcount.errors import InputError
from crowdcount.geometry import as_points
from crowdcount.images.read import read_image
from crowdcount.inference.points import PointPrediction
from crowdcount.inference.prediction import Prediction
from crowdcount.visualize.captions import caption
from crowdcount.visualize.density import image_bytes, overlay

IMAGE = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)


@pytest.fixture(scope="module")
def predictor():
    return crowdcount.Predictor(device="cpu")


def prediction(image=None, height=96, width=128):
    density = np.zeros((-(-height // 16), -(-width // 16)), np.float32)
    density[2, 3] = 2.5
    return Prediction(2.5, density, 16, height, width, image=image)


def points(image=None):
    found = as_points([[20, 30], [60, 40]])
    return PointPrediction(
        "person in red", found, np.ones((2, 2), np.float32), np.ones(2, np.float32), 96, 128, image=image
    )


def test_a_plot_is_the_density_on_the_image_under_its_count():
    found = prediction(IMAGE)
    expected = caption(overlay(IMAGE, found.density, 16), "count 2.5")
    np.testing.assert_array_equal(found.plot(), expected)
    assert found.plot().dtype == np.uint8


def test_a_plot_of_points_marks_them_where_they_are_whatever_the_size_of_the_image():
    found = PointPrediction("person in red", as_points([[20, 30]]), np.ones((1, 2)), np.ones(1), 96, 128)
    for factor in (2, 3):
        image = np.full((96 * factor, 128 * factor, 3), 90, np.uint8)
        drawn = found.plot(image)[-96 * factor :, : 128 * factor]
        y, x = np.argwhere((drawn != 90).any(axis=2)).mean(axis=0)
        assert (x / factor, y / factor) == (pytest.approx(20, abs=1), pytest.approx(30, abs=1))


@pytest.mark.parametrize("make", [prediction, points])
def test_any_form_of_the_image_serves(make, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(image_bytes(IMAGE))
    expected = make(IMAGE).plot()
    for form in (IMAGE, file, str(file), PIL.Image.fromarray(IMAGE), torch.from_numpy(IMAGE).movedim(2, 0)):
        np.testing.assert_array_equal(make().plot(form), expected)
    np.testing.assert_array_equal(make(file).plot(), expected)
    other = 255 - IMAGE
    np.testing.assert_array_equal(make(IMAGE).plot(other), make().plot(other))


@pytest.mark.parametrize("make", [prediction, points])
def test_without_an_image_it_has_to_be_given(make, tmp_path):
    found = make()
    for call in (found.plot, lambda: found.save(tmp_path / "a.png")):
        with pytest.raises(InputError, match=r"plot\(image\)"):
            call()
    assert found._repr_png_() is None and not any(tmp_path.iterdir())
    assert found.save(tmp_path / "a.png", IMAGE).is_file()


def test_a_file_that_is_gone_is_named(tmp_path):
    with pytest.raises(InputError, match=r"gone\.jpg"):
        prediction(tmp_path / "gone.jpg").plot()


@pytest.mark.parametrize("name", ["a.png", "deep/folder/a.jpg", "a.JPEG", "a.webp", "a.tiff", "a.bmp"])
def test_saved_drawings_are_those_of_plot(name, tmp_path):
    found = prediction(np.full((96, 128, 3), 90, np.uint8))
    written = found.save(str(tmp_path / name))
    assert written == tmp_path / name
    tolerance = 0 if name.endswith(("png", "tiff", "bmp")) else 60
    difference = np.abs(read_image(written).astype(int) - found.plot())
    assert difference.max() <= tolerance and difference.mean() < 3
    assert [path.name for path in written.parent.iterdir()] == [written.name]


@pytest.mark.parametrize("name", ["a.npz", "a.csv", "a", "a.pdf"])
def test_other_suffixes_are_refused(name, tmp_path):
    with pytest.raises(InputError, match=r"\.png.*numpy\.savez"):
        prediction(IMAGE).save(tmp_path / name)
    assert not any(tmp_path.iterdir())


def test_notebooks_get_a_png_of_their_size():
    small, large = prediction(IMAGE), prediction(np.zeros((3000, 4000, 3), np.uint8), 3000, 4000)
    shown = [cv2.imdecode(np.frombuffer(each._repr_png_(), np.uint8), cv2.IMREAD_COLOR_RGB) for each in (small, large)]
    np.testing.assert_array_equal(shown[0], small.plot())
    assert max(shown[1].shape[:2]) == 1200 and min(shown[1].shape[:2]) > 900


def test_the_text_of_a_prediction_leaves_the_image_out():
    assert "image" not in repr(prediction(IMAGE)) and "image" not in repr(points(IMAGE))


# What holds the image


def test_a_file_is_not_held_but_read_again(predictor, tmp_path):
    file = tmp_path / "a.png"
    file.write_bytes(image_bytes(IMAGE))
    for given in (file, str(file)):
        found = predictor.predict(given)
        assert found.image == file
        np.testing.assert_array_equal(found.plot(), predictor.predict(IMAGE).plot())


def test_an_array_is_held_without_a_copy(predictor):
    assert np.shares_memory(predictor.predict(IMAGE).image, IMAGE)
    assert np.shares_memory(predictor.model.predict(IMAGE).image, IMAGE)


def test_batches_hold_no_image(predictor):
    image = IMAGE.copy()
    held = weakref.ref(image)
    found = predictor.predict_batch([image, image])
    del image
    assert held() is None and [each.image for each in found] == [None, None]


def test_the_density_is_drawn_at_the_size_the_network_saw():
    shrunk = crowdcount.Predictor(device="cpu", long_side=64).predict(IMAGE)
    assert (shrunk.height, shrunk.width) == (48, 64) and shrunk.image.shape == IMAGE.shape
    assert shrunk.plot()[-48:, :64].shape == (48, 64, 3)


def test_a_notebook_shows_the_text_where_the_file_is_gone(tmp_path):
    assert prediction(tmp_path / "gone.jpg")._repr_png_() is None
