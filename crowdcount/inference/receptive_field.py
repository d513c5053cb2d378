"""Receptive field and memory per pixel of a network, measured on the network itself."""

import copy
import math
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from weakref import WeakKeyDictionary, finalize

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from crowdcount.errors import InputError
from crowdcount.models.base import DensityNetwork, count_map
from crowdcount.models.tile_context import TileContext, current_tile, tile_context

_FARTHEST = 2048
"""Maximum margin in pixels; a network that sees further is treated as seeing the whole image."""

_TOLERANCE = 1e-5
"""Tolerance relative to the range of the densities, above rounding in double precision."""

_margins: WeakKeyDictionary[DensityNetwork, int | str] = WeakKeyDictionary()  # or the reason why there is none
_costs: WeakKeyDictionary[DensityNetwork, float] = WeakKeyDictionary()


def tile_multiple(network: DensityNetwork) -> int:
    """Return the number of pixels that tile corners must be multiples of."""
    return math.lcm(network.size_divisor, network.stride)


def receptive_margin(network: DensityNetwork) -> int | None:
    """Return the margin in pixels with which tiles have the densities of the whole image, or None.

    A strip of an image is set to NaN, which propagates through every operation regardless of the weights: the blocks
    that become NaN are those that see the strip. Attention, global pooling and statistics over the image spread it
    everywhere. The margin is then verified on noise shifted by one step, which detects windows and grids that do not
    move with the image. The result is cached with the network; build a new network to change its layers.

    Args:
        network: in evaluation mode.

    Returns:
        A multiple of `tile_multiple(network)`; None if tiles cannot be exact.

    Raises:
        InputError: the network is in training mode, in which images depend on each other.
    """
    margin = _margin(network)
    return margin if isinstance(margin, int) else None


def inexact_reason(network: DensityNetwork) -> str:
    """Return the reason why tiles do not have the densities of the whole image, or "" if they do.

    Args:
        network: in evaluation mode.

    Raises:
        InputError: see `receptive_margin`.
    """
    margin = _margin(network)
    return margin if isinstance(margin, str) else ""


def bytes_per_pixel(network: DensityNetwork) -> float:
    """Return the memory of a forward pass per pixel of the image, in bytes at single precision.

    The peak of the tensors that operations return, measured on a small image; workspaces inside operations are not
    included.
    """
    if network not in _costs:
        side = -(-256 // tile_multiple(network)) * tile_multiple(network)
        with _plainly(), _LiveBytes() as live:
            network(_noise(network, side, side))
        _costs[network] = live.most / side**2
    return _costs[network]


def require_evaluation(network: DensityNetwork) -> None:
    """Check that a network is in evaluation mode.

    Raises:
        InputError: it is.
    """
    if network.training:
        raise InputError(f"{type(network).__name__} is in training mode, which changes its counts; call network.eval()")


@contextmanager
def _plainly() -> Iterator[None]:
    """Measure without autograd and without the caller's autocast."""
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode())
        for device in ("cpu", "cuda", "mps"):
            stack.enter_context(torch.autocast(device, enabled=False))
        yield


def _margin(network: DensityNetwork) -> int | str:
    require_evaluation(network)
    if network not in _margins:
        with _plainly():
            _margins[network] = _measured(network)
    return _margins[network]


def _measured(network: DensityNetwork) -> int | str:
    """Measure the margin; returns the reason if there is none."""
    step, far = tile_multiple(network), 128
    if step != network.size_divisor:
        return "pads whole images to other sides than tiles"
    while far <= _FARTHEST:
        far = -(-far // step) * step
        reaches = [_reach(network, far, axis) for axis in (-2, -1)]
        if None not in reaches:
            margin = -(-max(reach or 0 for reach in reaches) // step) * step
            with _AlignedCorners() as aligned:
                exact = all(_holds(network, margin, axis) for axis in (-2, -1))
            return margin if exact else aligned.reason or "does not count in the same way everywhere in an image"
        far *= 2
    return "sees the whole image at once"


def _reach(network: DensityNetwork, far: int, axis: int) -> int | None:
    """Return the reach of a strip's influence along an axis in pixels; None if it leaves the image."""
    step = tile_multiple(network)
    image = _strip(network, 2 * far + step, axis)
    image.narrow(axis, far, step).fill_(math.nan)
    cells = count_map(network, image).density[0, 0].isnan().any(dim=-3 - axis).nonzero().flatten()
    if not len(cells):
        return 0
    first, last = int(cells[0]) * network.stride, int(cells[-1] + 1) * network.stride
    if first == 0 or last >= 2 * far + step:
        return None
    return max(far - first, last - far - step)


def _holds(network: DensityNetwork, margin: int, axis: int) -> bool:
    """Return whether a tile shifted by one step has the densities of the whole image outside the margin.

    If a shift of one step changes nothing, neither does any number of steps. A copy in double precision is used, so
    that rounding does not hide small differences.
    """
    network = copy.deepcopy(network).cpu().double()
    step = start = tile_multiple(network)
    length = 2 * margin + 8 * step
    image = _strip(network, length, axis)
    height, width = image.shape[-2:]
    whole = count_map(network, image).density
    with tile_context(TileContext(start if axis == -2 else 0, start if axis == -1 else 0, height, width)):
        tile = count_map(network, image.narrow(axis, start, length - start)).density
    skip = margin // network.stride
    seen = whole.narrow(axis, start // network.stride + skip, tile.shape[axis] - skip)
    error = (tile.narrow(axis, skip, tile.shape[axis] - skip) - seen).abs().max()
    spread = whole.max() - whole.min()
    return bool(error <= _TOLERANCE * spread and spread > 0)  # a constant density is no evidence


def _strip(network: DensityNetwork, length: int, axis: int) -> Tensor:
    step = tile_multiple(network)
    return _noise(network, length, step) if axis == -2 else _noise(network, step, length)


def _noise(network: DensityNetwork, height: int, width: int) -> Tensor:
    values = torch.randn((1, 3, height, width), generator=torch.Generator().manual_seed(0))
    parameter = next(network.parameters())
    return values.to(parameter.device, parameter.dtype)


class _AlignedCorners(TorchFunctionMode):
    """Detects resizing that aligns the centres of the corner cells, which differ between a tile and the whole image."""

    def __init__(self) -> None:
        super().__init__()
        self.reason = ""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if (kwargs or {}).get("align_corners") and current_tile() is not None:
            self.reason = (
                "resizes relative to the size of its input (align_corners=True; use "
                "crowdcount.models.tile_context.interpolate_aligned, which uses the size of the image)"
            )
        return func(*args, **(kwargs or {}))


class _LiveBytes(TorchFunctionMode):
    """Sums the live storages that operations allocate."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self._known: set[int] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else [result]:
            if isinstance(value, Tensor):
                self._add(value)
        return result

    def _add(self, value: Tensor) -> None:
        storage = value.untyped_storage()
        key, size = storage.data_ptr(), storage.nbytes()
        if key in self._known:
            return
        self._known.add(key)
        self.now += size
        self.most = max(self.most, self.now)
        finalize(storage, self._free, key, size)

    def _free(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size
