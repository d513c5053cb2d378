"""The position of a tile in the whole image, for operations that depend on the size of the image."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class TileContext:
    """A tile of an image that is too large for one pass; all in pixels, multiples of what the network needs.

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


# Not an argument of `forward`: every layer down to the one that resizes would have to hand it on, in every network.
# A context variable, not a global: threads count different images at the same time.
_tile: ContextVar[TileContext | None] = ContextVar("tile", default=None)


def current_tile() -> TileContext | None:
    """Return the tile that the networks are given, None where it is a whole image."""
    return _tile.get()


@contextmanager
def tile_context(tile: TileContext) -> Iterator[None]:
    """Let the networks inside see their input as a tile of a larger image."""
    token = _tile.set(tile)
    try:
        yield
    finally:
        _tile.reset(token)


def interpolate_aligned(features: Tensor, size: Sequence[int], image: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly so that the corner cells of the image keep their centres (`align_corners`).

    The step between two samples then depends on the size of the image. In a tile they are taken where those of the
    whole image lie.

    Args:
        features: of the image, or of the tile.
        size: rows and columns wanted.
        image: height and width in pixels of what the network was given.
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
