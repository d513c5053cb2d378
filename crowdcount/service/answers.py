"""Answers of the service, as they stand in its OpenAPI description."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field
from shapely import Polygon

from crowdcount.errors import InputError
from crowdcount.ground.columns import encode
from crowdcount.ground.measure import GroundReading
from crowdcount.inference.prediction import DOUBT_FLOOR, DOUBTFUL, Prediction
from crowdcount.intervals.calibration import Interval, State
from crowdcount.zones import Zone


class Error(BaseModel):
    """Why there is no other answer."""

    error: str = Field(description="In plain words.")


class IntervalAnswer(BaseModel):
    """An interval of the true count; see docs/intervals.md."""

    low: float
    high: float | None = Field(description="null where nothing can be said.")
    state: State
    level: float = Field(
        description="Probability with which it holds the true count, for images like those calibrated on."
    )


class OutlineAnswer(BaseModel):
    """The outline of a zone."""

    name: str
    points: list[tuple[float, float]] = Field(description="Corners in pixels of the upright image.")


class PatchAnswer(BaseModel):
    """The densest patch of 9 square metres."""

    people_per_m2: float
    centre: tuple[float, float] = Field(description="In metres, on the ground of the camera file.")


class GroundAnswer(BaseModel):
    """People per square metre; see docs/ground.md."""

    people_per_m2: float | None = Field(description="Of the measured ground; null where there is none.")
    densest: PatchAnswer | None = Field(description="null where no patch is measured well enough.")
    level: str | None = Field(description="Level of service of the densest patch.")
    area_m2: float = Field(description="Measured square metres.")
    not_measured_image: float = Field(description="Share beyond the horizon, or where the errors are too large.")
    not_measured_count: float = Field(description="Share of the count there.")
    reason: str = Field(description="Why something is null.")


class ZoneAnswer(BaseModel):
    """The count of a zone."""

    name: str
    count: float
    interval: IntervalAnswer | None = None
    ground: GroundAnswer | None = Field(default=None, description="null without a camera file.")


class DensityAnswer(BaseModel):
    """People per block; the sum is the count. The last blocks may reach beyond the image."""

    block_width: float = Field(description="In pixels of the image.")
    block_height: float
    values: list[list[float]] = Field(description="Rows from top to bottom.")
    areas: list[list[float | None]] | None = Field(
        default=None, description="Square metres of each block, of a camera with a camera file; null if not measured."
    )


class CountAnswer(BaseModel):
    """The count of an image."""

    image: str = Field(description="Name of the file.")
    count: float
    width: int = Field(description="In pixels of the upright image.")
    height: int
    interval: IntervalAnswer | None = Field(default=None, description="null without a calibration.")
    ground: GroundAnswer | None = Field(default=None, description="null without a camera file.")
    zones: list[ZoneAnswer] = Field(default_factory=list)
    doubtful: bool = Field(
        description=f"Whether the counts at full and half size differ by more than {DOUBTFUL:g} of the count (of at "
        f"least {DOUBT_FLOOR:g}); false for models that count at one size."
    )
    exact: bool = Field(description="Whether this equals the output for the whole image in one pass.")
    model: str
    points: list[tuple[float, float]] | None = Field(default=None, description="Peaks of the density, strongest first.")
    density: DensityAnswer | None = None
    frame: str | None = Field(default=None, description="The image as a JPEG in base64, of a camera and on request.")


class Information(BaseModel):
    """Model and cameras of the service, and its limits."""

    model: str
    version: str
    level: float | None = Field(description="Level of the intervals; null without a calibration.")
    max_bytes: int
    max_pixels: int
    cameras: list[str] = Field(description="Names of cameras that can be counted in.")
    grounds: list[str] = Field(description="Names of cameras with people per square metre.")
    readings: bool = Field(description="Whether there are readings of watched streams.")


def outline_answers(zones: Sequence[Zone]) -> list[OutlineAnswer]:
    """Return the outlines of zones.

    Raises:
        InputError: one has several parts or holes.
    """
    for zone in zones:
        if not isinstance(zone.area, Polygon) or zone.area.interiors:
            raise InputError(
                f"zone {zone.name!r}: has several parts or holes, and a zone is drawn here with one outline; make them "
                "zones of their own"
            )
    outlines = [(zone.name, zone.area) for zone in zones if isinstance(zone.area, Polygon)]
    return [OutlineAnswer(name=name, points=[(x, y) for x, y in area.exterior.coords[:-1]]) for name, area in outlines]


def interval_answer(interval: Interval, level: float) -> IntervalAnswer:
    """Return an interval as an answer; JSON has no infinity."""
    high = interval.high if math.isfinite(interval.high) else None
    return IntervalAnswer(low=interval.low, high=high, state=interval.state, level=level)


def ground_answer(reading: GroundReading) -> GroundAnswer:
    """Return people per square metre as an answer."""
    return GroundAnswer(**encode(reading))


def density_answer(
    prediction: Prediction, height: int, width: int, areas: NDArray[np.float64] | None = None
) -> DensityAnswer:
    """Return the density of a prediction for an image of this size in pixels, rounded to 1e-5 people.

    Args:
        prediction: the prediction.
        height: of the image.
        width: of the image.
        areas: (rows, columns) square metres of each block, NaN where they are not measured; None without a camera file.
    """
    values = np.round(prediction.density.astype(np.float64), 5).tolist()
    rows = None if areas is None else np.round(areas, 5).tolist()
    return DensityAnswer(
        block_width=prediction.stride * width / prediction.width,
        block_height=prediction.stride * height / prediction.height,
        values=values,
        areas=rows and [[area if math.isfinite(area) else None for area in row] for row in rows],
    )
