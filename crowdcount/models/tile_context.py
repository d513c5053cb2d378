"""Where a tile lies in the whole image, for the operations that depend on the size of the image."""

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


_placement: ContextVar[TileContext | None] = ContextVar("placement", default=None)


@contextmanager
def tile_context(placement: TileContext) -> Iterator[None]:
    """Let the networks inside see their input as a tile of a larger image."""
    token = _placement.set(placement)
    try:
        yield
    finally:
        _placement.reset(token)


def interpolate_aligned(features: Tensor, size: Sequence[int], image: Sequence[int]) -> Tensor:
    """Resize (B, C, h, w) bilinearly so that the corner cells of the image keep their centres (`align_corners`).

    The step between two samples then depends on the size of the image. In a tile they are taken where those of the
    whole image lie.

    Args:
        features: of the image, or of the tile.
        size: rows and columns wanted.
        image: height and width in pixels of what the network was given.
    """
    placement = _placement.get()
    if placement is None:
        return functional.interpolate(features, size=tuple(size), mode="bilinear", align_corners=True)
    starts, whole = (placement.top, placement.left), (placement.height, placement.width)
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
