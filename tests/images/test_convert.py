"""Arrays and tensors of unusual kinds, and the order of their channels."""

import cv2
import numpy as np
import PIL.Image
import pytest
import torch

from crowdcount.errors import InputError
from crowdcount.images.convert import as_image

IMAGE = np.random.default_rng(0).integers(0, 256, (24, 36, 3), np.uint8)


def test_channels_of_opencv(tmp_path):
    path = tmp_path / "a.png"
    PIL.Image.fromarray(IMAGE).save(path)
    np.testing.assert_array_equal(as_image(cv2.imread(str(path)), channels="bgr"), IMAGE)
    alpha = np.dstack([IMAGE[..., ::-1], IMAGE[..., 0]])
    np.testing.assert_array_equal(as_image(alpha, channels="bgr"), IMAGE)
    tensor = torch.from_numpy(IMAGE[..., ::-1].copy()).permute(2, 0, 1)
    np.testing.assert_array_equal(as_image(tensor, channels="bgr"), IMAGE)
    grey = IMAGE[..., 0]
    np.testing.assert_array_equal(as_image(grey, channels="bgr"), as_image(grey))
    # files and Pillow images know their order
    np.testing.assert_array_equal(as_image(path, channels="bgr"), IMAGE)
    np.testing.assert_array_equal(as_image(PIL.Image.open(path), channels="bgr"), IMAGE)
    with pytest.raises(InputError, match="channels: 'grb' is not one of rgb, bgr"):
        as_image(IMAGE, channels="grb")


@pytest.mark.filterwarnings("ignore")  # of np.matrix and of prototypes in torch
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: torch.zeros(3, 4, 5, device="meta"), r"torch.float32 of layout torch.strided on meta"),
        (lambda: torch.zeros(3, 4, 5).to_sparse(), "layout torch.sparse_coo on cpu: convert it, with to_dense"),
        (lambda: torch.quantize_per_tensor(torch.zeros(3, 4, 5), 0.1, 0, torch.quint8), "torch.quint8 .*dequantize"),
        (lambda: torch.nested.nested_tensor([torch.zeros(4, 5), torch.zeros(4, 6)]), "got a nested one"),
        (lambda: torch.nested.nested_tensor([torch.zeros(3, 4, 5)] * 3), "got a nested one"),
        (lambda: torch.zeros(3, 4, 5, dtype=torch.complex64).conj(), "complex64"),
        (lambda: torch.zeros(3, 4, 5).to(torch.float8_e4m3fn), "float8"),
        (lambda: torch.zeros(3, 4, 5, dtype=torch.bool), "got bool"),
        (lambda: np.ma.masked_less(IMAGE, 9), "some pixels are masked out"),
        (lambda: np.zeros((4, 5), "M8[s]"), "got datetime64"),
        (lambda: np.zeros((4, 5), [("r", np.uint8)]), "an array"),
    ],
)
def test_tensors_and_arrays_without_plain_values(make, words):
    with pytest.raises(InputError, match=words):
        as_image(make())


@pytest.mark.filterwarnings("ignore")
def test_a_matrix_is_a_grey_image():
    np.testing.assert_array_equal(as_image(np.matrix(IMAGE[..., 0])), as_image(IMAGE[..., 0]))
    np.testing.assert_array_equal(as_image(np.ma.array(IMAGE)), IMAGE)


def test_a_draft_of_pillow_stays_a_draft(tmp_path):
    path = tmp_path / "a.jpg"
    PIL.Image.fromarray(IMAGE).save(path)
    whole, small = PIL.Image.open(path), PIL.Image.open(path)
    small.draft("RGB", (10, 10))
    np.testing.assert_array_equal(as_image(whole), as_image(path))
    assert as_image(small).shape[:2] == small.size[::-1] != IMAGE.shape[:2]
