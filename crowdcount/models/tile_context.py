"""Position of a tile in the whole image, for operations that depend on the image size."""

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class TileContext:
    """A tile of an image that is too large for one pass, in pixels; all multiples of the network's tile multiple.

    Attributes:
        top: first row of the tile.
        left: first column.
        height: rows of the whole image, padding included.
        width: columns.
    """

    top: int
    left: int
    height: int
    width: int


# Not an argument of `forward`: all layers down to the one that resizes would have to pass it on.
# A context variable, not a global: threads may count different images at the same time.
_tile: ContextVar[TileContext | None] = ContextVar("tile", default=None)


def current_tile() -> TileContext | None:
    """Return the tile that networks currently receive, None for a whole image."""
    return _tile.get()


def whole_image() -> AbstractContextManager[None]:
    """Make networks inside the context treat their input as a whole image, wherever it comes from."""
    return tile_context(None)


@contextmanager
def tile_context(tile: TileContext | None) -> Iterator[None]:
    """Make networks inside the context treat their input as a tile of a larger image, or with None as a whole one."""
    token = _tile.set(tile)
    try:
        yield
    finally:
        _tile.reset(token)


def interpolate_aligned(features: Tensor, size: Sequence[int], image: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly, aligning the centres of the corner cells of the image (`align_corners`).

    The sampling step then depends on the size of the image. In a tile, samples are taken at the positions of those of
    the whole image.

    Args:
        features: features of the image or the tile.
        size: target rows and columns.
        image: height and width in pixels of the network's input.
    """
    tile = current_tile()
    if tile is None:
        return functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=True)
    starts, whole = (tile.top, tile.left), (tile.height, tile.width)
    for axis, wanted, pixels, start, side in zip((-2, -1), size, image, starts, whole, strict=True):
        features = _stretched(features, axis, wanted, (pixels, start, side))
    return features


def _stretched(features: Tensor, axis: int, wanted: int, place: tuple[int, int, int]) -> Tensor:
    """Resize along one axis; `place` is the tile's side, its start and the image's side in pixels."""
    pixels, start, side = place
    given = features.shape[axis]
    cells, samples = side * given // pixels, side * wanted // pixels
    index = torch.arange(wanted, device=features.device) + start * wanted // pixels
    position = index.double() * ((cells - 1) / max(samples - 1, 1)) - start * given // pixels
    position = position.clamp(0, given - 1)
    below = position.floor().long()
    shape = [-1 if each == axis + features.ndim else 1 for each in range(features.ndim)]
    weight = (position - below).to(features.dtype).view(shape)
    low, high = (features.index_select(axis, at) for at in (below, (below + 1).clamp(max=given - 1)))
    return low + (high - low) * weight
