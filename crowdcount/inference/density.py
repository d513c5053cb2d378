"""Inference of density networks on whole images, shared by validation, testing, the tools and the Python API."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from crowdcount.checks import check_number
from crowdcount.errors import InputError
from crowdcount.inference.parts import (
    Maps,
    Part,
    in_one_pass,
    make_prediction,
    predict_in_parts,
    whole_part,
    window_parts,
)
from crowdcount.inference.prediction import DOUBTFUL as DOUBTFUL
from crowdcount.inference.prediction import Prediction as Prediction
from crowdcount.inference.receptive_field import (
    bytes_per_pixel,
    inexact_reason,
    receptive_margin,
    require_evaluation,
    tile_multiple,
)
from crowdcount.models.base import CountMap, DensityNetwork, count_map
from crowdcount.models.tile_context import TileContext, tile_context


@dataclass
class Inference:
    """Counting in a whole image: in one pass, in windows or in tiles.

    Args:
        window: side in pixels of square windows; null counts the image in one pass.
        window_stride: distance of the windows in pixels, by default `window`. Overlapping densities are averaged.
        window_batch: windows in one forward pass, which bounds the memory for images of any size. null takes the
            fastest: 4 on a CPU, because of its caches, and 16 on a GPU.
        max_memory: memory limit in GiB for one image, besides the model. A larger image is counted in tiles, with
            margins as wide as the receptive field, so that its density is that of the whole image. null sets no limit.
            A model with windows needs no tiles.

    Raises:
        InputError: a number is not positive, or windows would leave gaps.
    """

    window: int | None = None
    window_stride: int | None = None
    window_batch: int | None = None
    max_memory: float | None = None

    def __post_init__(self) -> None:
        if self.window is not None:
            check_number("inference.window", self.window, 1, hint="or null for the whole image")
        if self.window_stride is not None and not 0 < self.window_stride <= (self.window or 0):
            raise InputError(
                f"inference.window_stride: {self.window_stride} must be between 1 and {self.window}, the window"
            )
        if self.window_batch is not None:
            check_number("inference.window_batch", self.window_batch, 1)
        if self.max_memory is not None:
            check_number("inference.max_memory", self.max_memory, 0, above=True, hint="in GiB, or null for no limit")

    @property
    def protocol(self) -> str:
        """Description of the protocol."""
        if self.window is None:
            return "in one pass"
        return f"windows of {self.window} px every {self.step} px, overlaps averaged"

    @property
    def step(self) -> int | None:
        """Distance of the windows in pixels, None without windows."""
        return self.window if self.window_stride is None else self.window_stride

    def check(self, network: DensityNetwork) -> None:
        """Check that windows suit the network: it must see them whole, and they must start on a block.

        Raises:
            InputError: a number is not a multiple of what the network needs.
        """
        whole = tile_multiple(network)
        needs = (("window", self.window, whole), ("window_stride", self.step, network.stride))
        for key, value, multiple in needs:
            if value is not None and value % multiple:
                raise InputError(f"inference.{key}: {value} is not a multiple of {multiple}, as this network needs")

    def __call__(self, network: DensityNetwork, image: Tensor) -> Prediction:
        """Count in one image.

        The image is padded at the right and bottom with the mean colour (zeros after normalisation, like the padding
        of convolutions) to the size that the network or the window needs, so that people at the edge are counted.
        Cells that lie wholly in the padding are dropped.

        Args:
            network: in evaluation mode, on the device of the image.
            image: (3, H, W) uint8, or float in [0, 1], RGB.

        Raises:
            InputError: a window does not suit the network, `max_memory` is too small for any tile, or the network is in
                training mode.
        """
        return self.predict_batch(network, image.unsqueeze(0))[0]

    @torch.inference_mode()
    def predict_batch(self, network: DensityNetwork, images: Tensor) -> list[Prediction]:
        """Count in images of one size, in one forward pass unless they need windows or tiles.

        Args:
            network: see `__call__`.
            images: (B, 3, H, W), see `__call__`.

        Raises:
            InputError: see `__call__`.
        """
        self.check(network)
        require_evaluation(network)
        runners = [TorchRunner(network, image, images.nbytes) for image in images]
        if in_one_pass(runners[0], self, len(images)):
            maps = run_parts(network, images, whole_part(runners[0]))
            return [make_prediction(each, runner, exact=True) for each, runner in zip(maps, runners, strict=True)]
        return [predict_in_parts(runner, self) for runner in runners]

    def density(self, network: DensityNetwork, image: Tensor) -> Tensor:
        """Return the density of a whole image as `predict_batch` has it, with gradients; never in tiles.

        Args:
            network: in any mode, on the device of the image.
            image: (1, 3, H, W) uint8, or float in [0, 1], RGB.

        Returns:
            (1, 1, rows, columns), people per block of `stride` pixels.
        """
        runner = TorchRunner(network, image[0])
        if self.window is None or self.step is None:
            density = count_map(network, _cut(network, image, whole_part(runner))).density
        else:
            density = _window_density(network, image, window_parts(runner, self.window, self.step))
        rows, columns = (-(-side // network.stride) for side in image.shape[-2:])
        return density[..., :rows, :columns]


class TorchRunner:
    """A network in torch in front of one image; see `ImageRunner`.

    Args:
        network: in evaluation mode, on the device of the image.
        image: (3, H, W) uint8, or float in [0, 1], RGB.
        nbytes: memory of the images that are counted with it, in bytes; by default its own.
    """

    def __init__(self, network: DensityNetwork, image: Tensor, nbytes: int | None = None) -> None:
        self.network, self.image = network, image
        self.name, self.nbytes = type(network).__name__, image.nbytes if nbytes is None else nbytes
        self.stride, self.size_divisor = network.stride, network.size_divisor
        self.predicts_variance, self.compares_sizes = network.predicts_variance, network.compares_sizes
        self.batch = 4 if image.device.type == "cpu" else 16  # because of its caches
        self.size = (image.shape[-2], image.shape[-1])

    def bytes_per_pixel(self) -> float:
        """Return the memory of a pass per pixel."""
        return bytes_per_pixel(self.network)

    def margin(self) -> int | None:
        """Return the margin of exact tiles in pixels, None if there are none."""
        return receptive_margin(self.network)

    def inexact_reason(self) -> str:
        """Return the reason why there are no exact tiles, "" if there are."""
        return inexact_reason(self.network)

    @torch.inference_mode()
    def maps(self, parts: Sequence[Part], whole: tuple[int, int] | None = None) -> Maps:
        """Run the network on parts of one size; see `ImageRunner.maps`."""
        if whole is None:
            cut = [_cut(self.network, self.image[None], part) for part in parts]
            return _numpy(count_map(self.network, torch.cat(cut) if len(cut) > 1 else cut[0]))
        return np.concatenate([self._tile(part, whole) for part in parts])

    def _tile(self, part: Part, whole: tuple[int, int]) -> Maps:
        with tile_context(TileContext(part.top, part.left, *whole)):
            return _numpy(count_map(self.network, _cut(self.network, self.image[None], part)))


def run_parts(network: DensityNetwork, images: Tensor, part: Part) -> Maps:
    """Run a network on the same part of images (B, 3, H, W) of one size."""
    return _numpy(count_map(network, _cut(network, images, part)))


def stacked_maps(output: CountMap) -> Tensor:
    """Stack `CountMap.outputs`, (B, C, rows, columns); all merge by the same rule."""
    return torch.cat(list(output.outputs().values()), dim=1)


def _window_density(network: DensityNetwork, image: Tensor, parts: Sequence[Part]) -> Tensor:
    """Average the densities of windows of an image (1, 3, H, W), with gradients; see `merge_windows`."""
    rows, columns = parts[-1].bottom // network.stride, parts[-1].right // network.stride
    sums, hits = (torch.zeros(1, 1, rows, columns, device=image.device) for _ in range(2))
    for part in parts:
        cells = part.cells(network.stride)
        sums[..., *cells] += count_map(network, _cut(network, image, part)).density.float()
        hits[..., *cells] += 1
    return sums / hits


def _numpy(output: CountMap) -> Maps:
    maps: Maps = stacked_maps(output).cpu().numpy()
    return maps


def _cut(network: DensityNetwork, images: Tensor, part: Part) -> Tensor:
    """Normalise a part of images, padded with zeros beyond them; the whole image is never normalised at once."""
    rows, columns = slice(part.top, part.top + part.height), slice(part.left, part.left + part.width)
    cut = network.normalize(images[..., rows, columns])
    return functional.pad(cut, (0, part.width - cut.shape[-1], 0, part.height - cut.shape[-2]))
