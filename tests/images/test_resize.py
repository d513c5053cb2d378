import cv2
import numpy as np
import pytest
from PIL import Image

from crowdcount.data import Resize
from crowdcount.errors import InputError
from crowdcount.geometry import as_points, inside


@pytest.fixture(scope="module")
def transforms(golden):
    return np.load(golden / "clip_ebc_transforms.npz")


def test_target_golden(transforms):
    ours = [Resize(low, high).target(width, height) for width, height, low, high in transforms["calc_size/in"].tolist()]
    np.testing.assert_array_equal(ours, transforms["calc_size/out"])


def test_target_bounds_and_symmetry():
    rng = np.random.default_rng(0)
    rule = Resize(448, 2048)
    for width, height in rng.integers(50, 6000, (2000, 2)).tolist():
        new = rule.target(width, height)
        assert rule.target(height, width) == new[::-1]
        assert min(new) >= 448
        assert new[0] % 32 == new[1] % 32 == 0
        if max(width, height) * 448 <= min(width, height) * 2048:
            assert max(new) <= 2048
            assert rule.target(*new) == new


def test_preprocess_golden(transforms):
    image = transforms["img"].transpose(1, 2, 0).copy()
    resized, points = Resize(448, 4096)(image, transforms["lab"])
    assert resized.shape == tuple(transforms["preprocess/out_shape"])
    np.testing.assert_array_equal(resized[:64, :64, ::-1], transforms["preprocess/img_crop"])  # recorded as BGR
    np.testing.assert_allclose(points, transforms["preprocess/lab"], rtol=1e-6)


def test_an_image_of_the_right_size_is_left_alone(transforms):
    image = np.zeros((448, 480, 3), np.uint8)
    points = as_points([[5, 5], [-3, 700]])
    same, kept = Resize(448, 4096)(image, points)
    assert same is image
    assert kept is points


def test_points_outside_stay_outside_and_inside_stay_inside():
    image = np.zeros((589, 868, 3), np.uint8)
    edge = np.nextafter(np.float32([868, 589]), np.float32(0))
    points = as_points([edge, [0, 0], [868, 10], [-383, -85]])
    resized, moved = Resize(448, 4096)(image, points)
    assert resized.shape == (576, 864, 3)
    assert inside(moved, 864, 576).tolist() == [True, True, False, False]
    np.testing.assert_allclose(moved[3], [-383 * 864 / 868, -85 * 576 / 589], rtol=1e-6)


@pytest.mark.parametrize("side", [448, 460])  # also an image that keeps its size is compressed
def test_jpeg_round_trip_is_what_writing_and_reading_a_file_gives(tmp_path, side):
    rng = np.random.default_rng(0)
    image = cv2.GaussianBlur(rng.integers(0, 256, (side, side, 3), dtype=np.uint8), (0, 0), 3)
    plain, _ = Resize(448, 4096)(image, as_points([]))
    cv2.imwrite(str(tmp_path / "image.jpg"), plain[..., ::-1])  # OpenCV's default quality is 95
    expected = np.asarray(Image.open(tmp_path / "image.jpg"))
    ours, _ = Resize(448, 4096, jpeg_quality=95)(image, as_points([]))
    np.testing.assert_array_equal(ours, expected)
    assert (ours != plain).any()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"min_side": 450, "max_side": 4096}, "min_side: 450"),
        ({"min_side": 448, "max_side": 4000, "multiple": 64}, "max_side: 4000"),
        ({"min_side": 448, "max_side": 416}, "min_side: 448"),
        ({"min_side": 0, "max_side": 32}, "min_side: 0"),
        ({"min_side": 32, "max_side": 64, "multiple": 0}, "multiple: 0"),
        ({"min_side": 32, "max_side": 64, "jpeg_quality": 101}, "jpeg_quality: 101"),
    ],
)
def test_impossible_rules_are_refused(options, named):
    with pytest.raises(InputError, match=named):
        Resize(**options)
