"""Whole images and windows -> counts."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from crowdcount.errors import InputError
from crowdcount.inference.density import Inference, TorchRunner
from crowdcount.inference.parts import merge_windows, window_starts
from crowdcount.inference.prediction import Prediction
from crowdcount.models.base import CountMap, DensityNetwork
from tests.golden.fill import det_image, window_model


class Stand(DensityNetwork):
    """The recorded stand-in: it differs between positions in a window, so that overlaps disagree."""

    stride = 8
    size_divisor = 8
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    largest = 0

    def forward(self, image):
        self.largest = max(self.largest, len(image))
        return CountMap(
            torch.from_numpy(np.ascontiguousarray(window_model(image.numpy(), self.stride), dtype=np.float32))
        )


class Convolution(DensityNetwork):
    """One convolution with a bias that zeros and borders cannot hide."""

    stride = 4
    size_divisor = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 4, stride=4)

    def forward(self, image):
        logits = self.conv(image)
        return CountMap(logits.softmax(1)[:, :1], logits)


def recorded_image(height, width):
    return torch.from_numpy(det_image((1, 3, height, width), 21))


@pytest.mark.parametrize("case", ["exact", "ragged", "overlap", "one", "w448"])
@pytest.mark.parametrize("batch", [1, 5, 64])
def test_windows_merge_as_published(golden, case, batch):
    recorded = np.load(golden / "clip_ebc_sliding.npz")
    height, width, window, _, step, _ = recorded[f"{case}/args"].tolist()
    network = Stand()
    merged = merge_windows(TorchRunner(network, recorded_image(height, width)[0]), window, step, batch)
    np.testing.assert_allclose(merged, recorded[f"{case}/out"][0], atol=1e-5, rtol=1e-5)
    assert network.largest <= batch


@pytest.mark.parametrize("case", range(4))  # the others drop what fills no block, or have windows that are no squares
def test_windows_of_other_strides_merge_as_published(shared, case):
    recorded = np.load(shared / "golden" / "zip" / "zip_eval.npz")
    height, width, window, _, step, _, stride, batch = recorded[f"window/{case}/args"].tolist()
    network = Stand()
    network.stride = network.size_divisor = stride
    image = torch.from_numpy(det_image((1, 3, height, width), int(recorded[f"window/{case}/x_seed"])))
    merged = merge_windows(TorchRunner(network, image[0]), window, step, batch)
    np.testing.assert_allclose(merged, recorded[f"window/{case}/out"][0], atol=1e-5, rtol=1e-5)
    assert network.largest == recorded[f"window/{case}/chunks"].max()


def test_windows_against_the_plain_rule():
    image, window, step = recorded_image(64, 88), 32, 24
    sums, hits = np.zeros((8, 11)), np.zeros((8, 11))
    for i in range(math.ceil((64 - window) / step) + 1):
        for j in range(math.ceil((88 - window) / step) + 1):
            y, x = min(i * step, 64 - window), min(j * step, 88 - window)
            part = window_model(image[..., y : y + window, x : x + window].numpy())[0, 0]
            sums[y // 8 : y // 8 + 4, x // 8 : x // 8 + 4] += part
            hits[y // 8 : y // 8 + 4, x // 8 : x // 8 + 4] += 1
    merged = merge_windows(TorchRunner(Stand(), image[0]), window, step, 3)[0]
    np.testing.assert_allclose(merged, sums / hits, rtol=1e-5, atol=1e-6)


def test_windows_reach_both_edges():
    assert window_starts(100, 32, 32) == [0, 32, 64, 68]
    assert window_starts(64, 32, 32) == [0, 32]
    assert window_starts(32, 32, 8) == [0]


@pytest.mark.parametrize("window", [None, 16])
@pytest.mark.parametrize(("height", "width"), [(37, 50), (1, 1), (9, 64), (16, 16), (40, 48)])
def test_any_size_is_covered_to_the_edge(window, height, width):
    network = Convolution().eval()
    image = torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(1))
    prediction = Inference(window=window, window_batch=2)(network, image)
    rows, columns = math.ceil(height / 4), math.ceil(width / 4)
    padded = torch.zeros(1, 3, rows * 4, columns * 4)
    padded[..., :height, :width] = network.normalize(image[None])
    expected = network(padded)
    np.testing.assert_allclose(prediction.density, expected.density[0, 0].detach(), atol=1e-6)
    np.testing.assert_allclose(prediction.probabilities, expected.logits[0].softmax(0).detach(), atol=1e-6)
    assert prediction.count == pytest.approx(expected.density.sum().item(), rel=1e-5)
    assert (prediction.height, prediction.width, prediction.stride) == (height, width, 4)


def test_impossible_windows_are_refused():
    with pytest.raises(InputError, match=r"window_stride: 32 must be between 1 and 16, the window"):
        Inference(window=16, window_stride=32)
    with pytest.raises(InputError, match=r"window_stride: 8 must be between 1 and None"):
        Inference(window_stride=8)
    with pytest.raises(InputError, match=r"window_stride: 0 must be"):
        Inference(window=16, window_stride=0)
    with pytest.raises(InputError, match=r"inference\.window: -8 must be at least 1"):
        Inference(window=-8)
    with pytest.raises(InputError, match="window_batch: 0"):
        Inference(window_batch=0)
    with pytest.raises(InputError, match=r"window_stride: 6 is not a multiple of 4, as this network needs"):
        Inference(window=16, window_stride=6)(Convolution().eval(), torch.zeros(3, 32, 32))
    with pytest.raises(InputError, match=r"inference\.window: 12 is not a multiple of 8"):
        Inference(window=12)(Convolution().eval(), torch.zeros(3, 32, 32))


def test_doubt_is_the_difference_between_two_sizes():
    density = np.array([[2.0, 10.0], [8.0, 20.0]], np.float32)
    difference = np.array([[-20.0, 3.0], [1.0, 0.0]], np.float32)
    prediction = Prediction(40.0, density, 16, 32, 32, size_difference=difference)
    assert prediction.doubt == pytest.approx(16 / 40)
    assert replace(prediction, size_difference=-difference).doubt == pytest.approx(16 / 40)
    assert replace(prediction, density=density / 10, count=4.0).doubt == pytest.approx(16 / 10)  # of ten, not of four
    assert replace(prediction, size_difference=None).doubt is None
