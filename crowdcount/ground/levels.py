"""Levels of service: named bands of people per square metre."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from crowdcount.checks import check_number
from crowdcount.errors import InputError

SQUARE_FOOT: Final = 0.3048**2
"""Square metres in a square foot."""


@dataclass(frozen=True)
class Levels:
    """Bands of densities.

    Attributes:
        name: of the bands.
        bands: name of each band and the people per square metre above which it begins, the first at 0.

    Raises:
        InputError: there is no band, or the densities do not rise from 0.

    Example:
        >>> Levels("square", (("calm", 0), ("dense", 2), ("critical", 4))).level(2.5)
        'dense'
    """

    name: str
    bands: tuple[tuple[str, float], ...]

    def __post_init__(self) -> None:
        if not self.bands or self.bands[0][1] != 0:
            raise InputError(f"levels: the first band of {self.name!r} must begin at 0 people per square metre")
        for (_, low), (name, high) in pairwise(self.bands):
            check_number(f"levels.{name}", high, low, above=True, hint="people per square metre, as the bands rise")

    def level(self, density: float) -> str:
        """Return the name of the band of a density in people per square metre; a limit belongs to the band below."""
        return next((name for name, above in reversed(self.bands) if density > above), self.bands[0][0])


def fruin(name: str, square_feet: tuple[float, ...]) -> Levels:
    """Return levels A to F from the least areas per person of A to E, in square feet as Fruin gives them."""
    limits = (0.0, *(1 / (area * SQUARE_FOOT) for area in square_feet))
    return Levels(name, tuple(zip("ABCDEF", limits, strict=True)))


WALKING: Final = fruin("walking", (35, 25, 15, 10, 5))
"""Level-of-service standards for walkways: Fruin, Pedestrian Planning and Design (1971), chapter 4, pages 74-78."""

STANDING: Final = fruin("standing", (13, 10, 7, 3, 2))
"""Level-of-service standards for queuing: the same, pages 85-87."""

NAMED: Final = {levels.name: levels for levels in (WALKING, STANDING)}
