"""Tiles against whole images: for every convolutional family, at odd sizes, to rounding."""

import logging
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional

import crowdcount
from crowdcount.errors import InputError
from crowdcount.inference.density import Inference, TorchRunner
from crowdcount.inference.parts import GIB, merge_tiles
from crowdcount.inference.receptive_field import bytes_per_pixel, inexact_reason, receptive_margin, tile_multiple
from crowdcount.inference.tiling import grid, spans
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.bins import Bins
from crowdcount.models.ebc.network import Ebc
from crowdcount.models.hmode.network import Hmode
from crowdcount.models.tile_context import TileContext, interpolate_aligned, tile_context

BINS = Bins([0, 1, 2, "3+"])


def ebc(backbone, **arguments):
    return lambda: Ebc(backbone, BINS, pretrained=False, **arguments)


CONVOLUTIONAL = {  # one of each way a convolutional network of the zoo is built
    "vgg": ebc("vgg11_bn"),
    "vgg16 at 16": ebc("vgg11", reduction=16),
    "vgg_ae": ebc("vgg11_ae"),
    "csrnet": ebc("csrnet_bn"),
    "resnet_ae": ebc("resnet18_ae"),
    "timm": ebc("resnet18", feature_level=2),
    "timm at 32": ebc("mobilenetv4_conv_small", feature_level=3, reduction=32),
    "context": ebc("mobilenetv4_conv_small", feature_level=2, context=(1, 2)),
    "hmode": lambda: Hmode("mobilenetv4_conv_small", pretrained=False),
    "hmode of two": lambda: Hmode("resnet18", strides=(4, 8), pretrained=False),
    "clip_ebc": lambda: crowdcount.create_model("clip_ebc/rn50_sha"),
}
WHOLE = {  # networks that see the whole image at once
    "cannet": ebc("cannet"),
    "vit": ebc("vit_b_32", reduction=32),
    "swin": ebc("swin_tiny_patch4_window7_224", reduction=32),
    "squeeze": ebc("mobilenetv3_small_100", reduction=32),
}


@pytest.fixture(autouse=True)
def seeded():
    """Networks of random weights, but the same ones every time: some saturate, and a flat density tells nothing."""
    torch.manual_seed(1)


def trained(network):
    """Return a network whose statistics and biases are not those of a fresh one, so that borders show."""
    generator = torch.Generator().manual_seed(3)
    for name, value in network.named_buffers():
        if name.endswith("running_mean"):
            value.copy_(0.1 * torch.randn(value.shape, generator=generator))
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d) and layer.bias is not None:
            nn.init.constant_(layer.bias, 0.1)
    return network.eval()


def noise(height, width, seed=5):
    return torch.randint(0, 256, (3, height, width), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("upright", [True, False])
@pytest.mark.parametrize("name", CONVOLUTIONAL)
def test_tiles_give_the_density_of_the_whole_image(name, upright):
    network = trained(CONVOLUTIONAL[name]())
    margin, step = receptive_margin(network), tile_multiple(network)
    assert margin is not None and margin % step == 0
    sides = (2 * margin + 5 * step + 7, step + 3)  # tiles at both ends, and one that touches neither
    image = noise(*sides if upright else sides[::-1])
    check_tiles(network, image, room=2 * step * (2 * margin + 2 * step))


def test_tiles_meet_in_both_directions():
    network = trained(ebc("mobilenetv4_conv_small", feature_level=2)())
    margin, step = receptive_margin(network), tile_multiple(network)
    check_tiles(network, noise(3 * margin + 5 * step + 3, 3 * margin + 9 * step + 1), room=(2 * margin + 2 * step) ** 2)


def check_tiles(network, image, room):
    whole = Inference()(network, image)
    maps, exact = merge_tiles(TorchRunner(network, image), room)
    rows, columns = whole.density.shape
    assert exact and whole.exact
    assert np.abs(maps[0, :rows, :columns] - whole.density).max() <= 1e-4 * whole.density.max()
    if whole.probabilities is not None:
        np.testing.assert_allclose(maps[2:, :rows, :columns], whole.probabilities, atol=1e-4)
        np.testing.assert_allclose(maps[1, :rows, :columns], whole.variance, atol=1e-4)


@pytest.mark.parametrize("name", WHOLE)
def test_networks_that_see_the_whole_image_have_no_exact_tiles(name, caplog):
    network = trained(WHOLE[name]())
    assert receptive_margin(network) is None
    with caplog.at_level(logging.WARNING):
        maps, exact = merge_tiles(TorchRunner(network, noise(100, 700)), 100 * 450)
    assert not exact and np.isfinite(maps).all()
    reason = (
        "does not count in the same way everywhere in an image" if name == "swin" else "sees the whole image at once"
    )
    assert f"{reason}: its density depends on the tiles" in caplog.text


@pytest.mark.parametrize("margin", ["receptive_margin", "less"])
def test_the_halo_is_as_wide_as_it_must_be_and_no_wider(margin, monkeypatch):
    """With a step less the density differs: the measure is tight."""
    network = Chain([(3, 2, 1), (5, 2, 1), (5, 2, 2), (3, 1, 3)]).eval()
    step, wide = tile_multiple(network), receptive_margin(network)
    if margin == "less":
        monkeypatch.setattr("crowdcount.inference.density.receptive_margin", lambda _: wide - step)
    image = noise(4 * step, 12 * wide)
    maps, _ = merge_tiles(TorchRunner(network, image), 4 * step * (2 * wide + 4 * step))
    whole = Inference()(network, image).density
    assert (np.abs(maps[0] - whole).max() <= 1e-5 * whole.max()) == (margin == "receptive_margin")


class Chain(DensityNetwork):
    """Convolutions of known kernels, strides and dilations: the receptive field follows from arithmetic."""

    def __init__(self, layers):
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 3, k, stride=s, dilation=d, padding=d * (k - 1) // 2) for k, s, d in layers)
        )
        self.stride = self.size_divisor = math.prod(s for _, s, _ in layers)

    def forward(self, image):
        return CountMap(self.layers(image)[:, :1].exp())


@given(st.lists(st.tuples(st.sampled_from([1, 3, 5]), st.sampled_from([1, 2]), st.sampled_from([1, 2, 3])), max_size=5))
@settings(max_examples=30, deadline=None)
def test_the_halo_is_that_of_arithmetic(layers):
    layers = [(3, 2, 1), *layers]
    network = Chain(layers).eval()
    reach, jump = 0, 1
    for kernel, stride, dilation in layers:
        reach, jump = reach + dilation * (kernel - 1) // 2 * jump, jump * stride
    # the first pixel of a block sees `reach` to the left; its centre tap lies at the block's first pixel
    assert receptive_margin(network) == -(-reach // jump) * jump


class Pooled(DensityNetwork):
    """A convolution and a mean over the whole image."""

    stride = size_divisor = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 8, stride=8)

    def forward(self, image):
        scores = self.conv(image)
        return CountMap((scores + scores.mean(dim=(2, 3), keepdim=True)).exp())


class Rolled(DensityNetwork):
    """Blocks that see 48 pixels to the left, but only in some columns: windows that do not move with the image."""

    stride = size_divisor = 8

    def __init__(self, length, period):
        super().__init__()
        self.length, self.period = length, period
        self.conv = nn.Conv2d(3, 1, 8, stride=8)

    def forward(self, image):
        scores = self.conv(image)
        columns = torch.arange(scores.shape[-1]) // self.length % self.period == 0
        return CountMap((scores + columns * scores.roll(6, dims=-1)).exp())


class Enlarged(DensityNetwork):
    """Cells of 16 pixels resized to cells of 8 so that the corner cells keep their centres."""

    stride, size_divisor = 8, 16

    def __init__(self, by_image):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 16, stride=16)
        self.by_image = by_image

    def forward(self, image):
        scores = self.conv(image)
        size = [side // 8 for side in image.shape[-2:]]
        if self.by_image:
            return CountMap(interpolate_aligned(scores, size, image.shape[-2:]).exp())
        return CountMap(functional.interpolate(scores, size=size, mode="bilinear", align_corners=True).exp())


@pytest.mark.parametrize("by_image", [True, False])
def test_corners_that_keep_their_centres_are_noticed(by_image, caplog):
    network, image = Enlarged(by_image).eval(), noise(640, 480)
    with caplog.at_level(logging.WARNING):
        maps, exact = merge_tiles(TorchRunner(network, image), 300 * 300)
    whole = Inference()(network, image).density
    assert exact is by_image is (receptive_margin(network) is not None)
    assert np.allclose(maps[0], whole, rtol=1e-4) is by_image
    named = "Enlarged resizes relative to the size of its input (align_corners=True; use crowdcount.models.tile_context"
    assert (named in caplog.text) is not by_image and (inexact_reason(network) == "") is by_image


class Dead(DensityNetwork):
    """A convolution whose density is 0 on noise, whatever tiles do to it."""

    stride = size_divisor = 8

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 1, 8, stride=8)

    def forward(self, image):
        return CountMap((self.conv(image) - 1e6).relu())


@pytest.mark.parametrize(
    "make", [Pooled, Dead, *(lambda n=n, p=p: Rolled(n, p) for n, p in [(3, 2), (1, 2), (1, 3), (2, 3), (4, 3)])]
)
def test_what_is_not_the_same_everywhere_is_found_out(make):
    assert receptive_margin(make().eval()) is None


def test_tiles_of_the_released_form_are_not_exact():
    """It takes images as they are and stretches its maps: whole images and tiles end differently."""
    assert receptive_margin(Hmode("mobilenetv4_conv_small", pretrained=False, compat="released").eval()) is None


def test_a_network_in_training_mode_is_refused_and_stays_whole():
    network = ebc("resnet18", feature_level=1)().train()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    calls = [lambda n: Inference()(n, noise(64, 64)), lambda n: Inference(window=64)(n, noise(9, 9))]
    for call in (receptive_margin, *calls):
        with pytest.raises(InputError, match="training mode"):
            call(network)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


@given(
    st.integers(1, 40), st.integers(1, 40), st.integers(0, 6), st.sampled_from([4, 8, 32]), st.integers(1, 4000)
)  # in steps
@settings(max_examples=300, deadline=None)
def test_tiles_cover_every_pixel_once_within_the_room(rows, columns, margin, step, cells):
    height, width, margin, room = rows * step, columns * step, margin * step, cells * step**2
    smallest = min(height, 2 * margin + step) * min(width, 2 * margin + step)
    try:
        tiles = grid(height, width, margin, step, room)
    except InputError:
        assert room < smallest
        return
    seen = np.zeros((rows, columns), int)
    for row, column in tiles:
        seen[row.start // step : row.stop // step, column.start // step : column.stop // step] += 1
        assert (row.high - row.low) * (column.high - column.low) <= room
        for span, side in ((row, height), (column, width)):
            assert span.low == max(0, span.start - margin) and span.high == min(side, span.stop + margin)
            assert all(place % step == 0 for place in (span.start, span.stop, span.low, span.high))
    assert (seen == 1).all()


def test_a_grid_needs_as_few_pixels_as_any_regular_one():
    height, width, margin, step, room = 4000, 20000, 200, 8, 1.5e6

    def work(rows, columns):
        sides = [spans(side, parts, margin, step) for side, parts in ((height, rows), (width, columns))]
        high, wide = ([span.high - span.low for span in side] for side in sides)
        return sum(high) * sum(wide) if max(high) * max(wide) <= room else math.inf

    tiles = grid(height, width, margin, step, room)
    found = sum((row.high - row.low) * (column.high - column.low) for row, column in tiles)
    assert found == min(work(rows, columns) for rows in range(1, 30) for columns in range(1, 90))


@pytest.mark.parametrize(("height", "width"), [(37, 50), (1, 1), (64, 64)])
def test_an_image_within_the_memory_is_counted_in_one_pass(height, width):
    network, image = Chain([(3, 2, 1), (3, 4, 1)]).eval(), noise(height, width)
    whole, limited = Inference()(network, image), Inference(max_memory=1)(network, image)
    np.testing.assert_array_equal(whole.density, limited.density)
    assert limited.exact


def test_a_batch_has_to_share_the_memory():
    network, images = Chain([(3, 2, 1), (3, 4, 1)]).eval(), torch.stack([noise(256, 256)] * 4)
    passes = []
    network.register_forward_hook(lambda _, given, __: passes.append(tuple(given[0].shape)))
    one = 2 * images.nbytes + 2 * (bytes_per_pixel(network) + 12) * 256 * 256 * 1.01
    passes.clear()
    Inference(max_memory=one / GIB)(network, images[0])
    Inference(max_memory=one / GIB).predict_batch(network, images)
    assert passes == [(1, 3, 256, 256)] * 5
    Inference(max_memory=4 * one / GIB).predict_batch(network, images)
    assert passes[5:] == [(4, 3, 256, 256)]


def test_tiles_that_waste_their_time_say_so(caplog):
    network = ebc("resnet18", feature_level=1)().eval()
    step, wide = tile_multiple(network), receptive_margin(network)
    with caplog.at_level(logging.WARNING):
        merge_tiles(TorchRunner(network, noise(20 * step, 20 * step)), (2 * wide + step) ** 2)
    assert "compute each pixel" in caplog.text


def test_the_memory_decides_about_the_tiles():
    network, image = Chain([(3, 2, 1), (3, 4, 1)]).eval(), noise(500, 700)
    sizes = []
    network.register_forward_hook(lambda _, given, __: sizes.append(given[0].shape[-2] * given[0].shape[-1]))
    # the normalised image is not made by the network; its output lives while the next layer works
    assert 3 * 4 * (1 / 4 + 1 / 64) <= bytes_per_pixel(network) <= 16
    sizes.clear()
    for part in (0.1, 0.02):
        need = image.nbytes * 2 + 2 * (bytes_per_pixel(network) + 12) * 500 * 700 * part
        prediction = Inference(max_memory=need / GIB)(network, image)
        assert prediction.exact and len(sizes) > 1 and max(sizes) <= 500 * 700 * part
        np.testing.assert_allclose(prediction.density, Inference()(network, image).density, rtol=1e-4)
        sizes.clear()


@pytest.mark.parametrize(
    ("memory", "message"),
    [
        (0, "max_memory: 0 must be"),
        (-1, "max_memory: -1"),
        (math.inf, "max_memory: inf"),
        (math.nan, "max_memory: nan"),
    ],
)
def test_impossible_memories_are_refused(memory, message):
    with pytest.raises(InputError, match=message):
        Inference(max_memory=memory)


@pytest.mark.parametrize(("image", "memory"), [(noise(500, 700), 1e-4), (noise(500, 700), 2.2e-3)])
def test_too_little_memory_is_refused(image, memory):
    network = trained(ebc("resnet18", feature_level=2)())
    with pytest.raises(InputError, match=r"max_memory: .*(give more|at least \d+ pixels)"):
        Inference(max_memory=memory)(network, image)


@given(st.integers(2, 9), st.sampled_from([(8, 4), (16, 8), (8, 8), (32, 4)]), st.data())
@settings(max_examples=100, deadline=None)
def test_stretching_a_tile_is_stretching_the_image(cells, strides, data):
    """Against torch's own interpolation of the whole map."""
    coarse, fine = strides
    rows, columns = cells, data.draw(st.integers(1, 9))
    first = data.draw(st.integers(0, columns - 1))
    last = data.draw(st.integers(first + 1, columns))
    whole = torch.rand(1, 2, rows, columns, generator=torch.Generator().manual_seed(cells), dtype=torch.float64)
    size = (rows * coarse // fine, columns * coarse // fine)
    expected = functional.interpolate(whole, size=size, mode="bilinear", align_corners=True)
    low, high = max(first - 1, 0), min(last + 1, columns)  # a cell of margin at each side
    with tile_context(TileContext(0, low * coarse, rows * coarse, columns * coarse)):
        wanted = (size[0], (high - low) * coarse // fine)
        found = interpolate_aligned(whole[..., low:high], wanted, (rows * coarse, (high - low) * coarse))
    skip, ratio = (first - low) * coarse // fine, coarse // fine
    torch.testing.assert_close(
        found[..., skip : skip + (last - first) * ratio], expected[..., first * ratio : last * ratio]
    )


def test_several_images_of_one_size_are_counted_as_one_by_one():
    network = trained(ebc("resnet18", feature_level=2)())
    images = torch.stack([noise(90, 130, seed) for seed in range(3)])
    for inference in (Inference(), Inference(window=64), Inference(max_memory=0.02)):
        for image, together in zip(images, inference.predict_batch(network, images), strict=True):
            alone = inference(network, image)
            np.testing.assert_allclose(together.density, alone.density, rtol=1e-4, atol=1e-6)
            assert together.count == pytest.approx(alone.count, rel=1e-5) and together.exact == alone.exact
