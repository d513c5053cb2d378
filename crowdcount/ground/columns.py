"""Readings of people per square metre as columns of tables and as JSON."""

from collections.abc import Mapping
from typing import Any, Final

from crowdcount.ground.measure import GroundReading
from crowdcount.ground.patch import Patch

COLUMNS: Final = (
    "people_per_m2",
    "max_people_per_m2",
    "level",
    "area_m2",
    "not_measured_image",
    "not_measured_count",
    "density_reason",
)
"""Names of the columns of a reading; those of zones begin with the name of the zone."""


def cells(reading: GroundReading | None) -> list[float | str]:
    """Return the cells of `COLUMNS`; what is not known is empty."""
    if reading is None:
        return [""] * len(COLUMNS)
    known = (
        reading.mean,
        None if reading.densest is None else reading.densest.density,
        reading.level,
        reading.area,
        reading.excluded_image,
        reading.excluded_count,
        reading.reason,
    )
    return ["" if cell is None else cell for cell in known]


def encode(reading: GroundReading) -> dict[str, Any]:
    """Return what JSON holds of a reading; see `decode`."""
    densest = reading.densest
    patch = None if densest is None else {"people_per_m2": densest.density, "centre": list(densest.centre)}
    return {
        "people_per_m2": reading.mean,
        "densest": patch,
        "level": reading.level,
        "area_m2": reading.area,
        "not_measured_image": reading.excluded_image,
        "not_measured_count": reading.excluded_count,
        "reason": reading.reason,
    }


def decode(entry: Mapping[str, Any]) -> GroundReading:
    """Return the reading of which `encode` returned this.

    Raises:
        KeyError: it is no such entry.
    """
    patch = entry["densest"]
    return GroundReading(
        entry["people_per_m2"],
        None if patch is None else Patch(patch["people_per_m2"], (patch["centre"][0], patch["centre"][1])),
        entry["level"],
        entry["area_m2"],
        entry["not_measured_image"],
        entry["not_measured_count"],
        entry["reason"],
    )


def density_text(reading: GroundReading) -> str:
    """Return a reading as a line, such as "0.38 people/m2, densest 9 m2 4.8/m2 (F)", and why a part is missing."""
    mean = "" if reading.mean is None else f"{reading.mean:.2g} people/m2"
    densest = "" if reading.densest is None else f"densest 9 m2 {reading.densest.density:.2g}/m2 ({reading.level})"
    return ", ".join(filter(None, (mean, densest, reading.reason)))
