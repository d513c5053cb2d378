"""People per square metre of a prediction: of its blocks, of the whole image and of zones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from crowdcount.block_shares import mask_shares
from crowdcount.ground.area import GroundBlocks, ground_blocks
from crowdcount.ground.camera import Camera
from crowdcount.ground.homography import Floats
from crowdcount.ground.patch import SIDE, MetricGrid, Patch

if TYPE_CHECKING:  # the ground needs no torch
    from crowdcount.inference.prediction import Prediction
    from crowdcount.zones.zone import Zone


@dataclass(frozen=True)
class GroundReading:
    """People per square metre of a part of the image.

    Attributes:
        mean: people per square metre of the measured ground; None where there is none.
        densest: the densest patch of 9 square metres; None where no patch is measured well enough.
        level: name of the band of the densest patch; None without one.
        area: measured square metres.
        excluded_image: share of the part of the image that is beyond the horizon or above the limits of errors.
        excluded_count: share of its people there; 0 if nobody is counted.
        reason: why there is no mean or no densest patch; empty if there are both.
    """

    mean: float | None
    densest: Patch | None
    level: str | None
    area: float
    excluded_image: float
    excluded_count: float
    reason: str = ""


@dataclass(frozen=True, eq=False)
class GroundDensity:
    """People per square metre of a prediction.

    Attributes:
        grid: the ground on which they are.
        counts: (rows, columns) people per block.
        areas: (rows, columns) square metres of each block, without ignored pixels; NaN where it is not measured.
        whole: of the whole image.
        zones: of each zone by name.
    """

    grid: MetricGrid
    counts: Floats
    areas: Floats
    whole: GroundReading
    zones: dict[str, GroundReading]

    @property
    def camera(self) -> Camera:
        """The camera."""
        return self.grid.blocks.camera

    @property
    def blocks(self) -> Floats:
        """(rows, columns) people per square metre of each block; NaN where it is not measured, or wholly ignored."""
        return self.counts / np.where(self.areas > 0, self.areas, np.nan)

    @property
    def local(self) -> Floats:
        """People per square metre of the patch around each corner of cells, see `MetricGrid.local_density`."""
        return self.grid.local_density(self.counts, self.areas)


class Ground:
    """The ground that a camera sees; images of one size share their blocks and grid.

    Args:
        camera: the camera.
        side: side in metres of the moving patch.
    """

    def __init__(self, camera: Camera, side: float = SIDE) -> None:
        self.camera, self.side = camera, side
        self._last: tuple[tuple[int, ...], MetricGrid] | None = None

    def measure(self, prediction: "Prediction", height: int, width: int, zones: Sequence["Zone"] = ()) -> GroundDensity:
        """Return the people per square metre of a prediction.

        Args:
            prediction: of a density model for an image of the camera, at any network input size.
            height: height of the image in pixels.
            width: its width.
            zones: regions of the image.

        Raises:
            InputError: the image is not one of this camera, or a zone does not fit it.
        """
        grid = self._grid(prediction, height, width)
        counts = prediction.density.astype(np.float64)
        kept = _kept(prediction, grid.blocks)
        shares = {zone.name: zone.coverage(prediction, height, width) for zone in zones}
        readings = {name: _reading(grid, counts, kept, share) for name, share in shares.items()}
        whole = _reading(grid, counts, kept, np.ones_like(counts))
        return GroundDensity(grid, counts, grid.blocks.areas * kept, whole, readings)

    def _grid(self, prediction: "Prediction", height: int, width: int) -> MetricGrid:
        key = (*prediction.density.shape, prediction.stride, prediction.height, prediction.width, height, width)
        last = self._last  # one alone: streams and folders have one size, and a grid is large
        if last is None or last[0] != key:
            last = self._last = key, MetricGrid(ground_blocks(self.camera, prediction, height, width), self.side)
        return last[1]


def _kept(prediction: "Prediction", blocks: GroundBlocks) -> Floats:
    """Return the share (rows, columns) of each block that is not ignored; nobody is counted in the rest."""
    if prediction.ignored is None:
        return np.ones(prediction.density.shape)
    rows, columns = prediction.ignored.pixels.shape
    ys, xs = (edges * side / edges[-1] for edges, side in ((blocks.ys, rows), (blocks.xs, columns)))
    return 1 - mask_shares(prediction.ignored.pixels, ys, xs)


def _reading(grid: MetricGrid, counts: Floats, kept: Floats, share: Floats) -> GroundReading:
    """Return the reading of a part of the image, given by its share (rows, columns) of each block."""
    blocks = grid.blocks
    people, image = counts * share, blocks.image_shares * kept * share
    ground = np.nan_to_num(blocks.areas) * kept * share
    area, inside = float(ground.sum()), float(people[blocks.measured].sum())
    densest = grid.densest(people, ground) if area > 0 else None
    return GroundReading(
        inside / area if area > 0 else None,
        densest,
        None if densest is None else blocks.camera.settings.levels.level(densest.density),
        area,
        _outside(image, blocks),
        _outside(people, blocks),
        _reason(blocks, kept * share, area, densest is None),
    )


def _outside(values: Floats, blocks: GroundBlocks) -> float:
    """Return the share of block values that is in blocks without a density; 0 if there are none."""
    total = float(values.sum())
    return float(values[~blocks.measured].sum()) / total if total > 0 else 0.0


def _reason(blocks: GroundBlocks, share: Floats, area: float, no_patch: bool) -> str:
    if area > 0:
        return "no patch of 9 square metres is measured" if no_patch else ""
    if not share.any():
        return "ignored"
    on_ground = np.isfinite(blocks.seen[share > 0]).any()
    return "too far: the errors exceed the limits" if on_ground else "beyond the horizon"
