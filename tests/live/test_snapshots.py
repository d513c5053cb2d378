import cv2
import numpy as np
import pytest

from crowdcount.errors import InputError
from crowdcount.inference.prediction import Prediction
from crowdcount.live.snapshots import Snapshots, blurred


def test_detail_is_gone_for_good():
    """Two images that differ in everything finer than a cell, and in nothing coarser, have one blurred image."""
    grey = np.full((120, 320, 3), 128, np.uint8)
    board = np.where(np.indices((120, 320)).sum(axis=0) % 2, 118, 138).astype(np.uint8)
    assert np.abs(blurred(np.repeat(board[..., None], 3, axis=2)).astype(int) - grey).max() <= 1


@pytest.mark.parametrize("shape", [(480, 640), (640, 480), (20, 30), (1, 1)])
def test_no_more_than_the_means_of_cells_is_left(shape):
    image = np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)
    shown = blurred(image)
    assert shown.shape == image.shape
    small = cv2.resize(image, tuple(max(1, round(side * 32 / max(shape))) for side in shape[::-1]), interpolation=3)
    assert small.size <= 32 * 32 * 3
    assert np.array_equal(cv2.resize(small, shape[::-1], interpolation=cv2.INTER_LINEAR), shown)


def test_the_newest_are_kept_and_files_of_others_left_alone(tmp_path):
    (tmp_path / "holiday.png").write_bytes(b"mine")
    snapshots = Snapshots(tmp_path, most=3)
    prediction = Prediction(1.0, np.ones((2, 2), np.float32) / 4, 16, 32, 32)
    image = np.zeros((32, 32, 3), np.uint8)
    saved = [snapshots.save("gate/../x", float(second), image, prediction) for second in range(5)]
    assert saved[0].name == "snapshot_gate-x_19700101T000000000Z.png"
    assert sorted(tmp_path.iterdir()) == [tmp_path / "holiday.png", *saved[2:]]
    with pytest.raises(InputError, match="snapshots"):
        Snapshots(tmp_path, most=0)
