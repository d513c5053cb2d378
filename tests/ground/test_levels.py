"""Fruin's levels of service, and bands of one's own."""

import pytest

from crowdcount.errors import InputError
from crowdcount.ground import STANDING, WALKING, Levels


@pytest.mark.parametrize(
    ("levels", "metres"),
    [(WALKING, (3.25, 2.32, 1.39, 0.93, 0.46)), (STANDING, (1.21, 0.93, 0.65, 0.28, 0.19))],
)
def test_the_areas_per_person_in_square_metres(levels, metres):
    limits = [above for _, above in levels.bands]
    assert [round(1 / above, 2) for above in limits[1:]] == list(metres)
    for name, space in zip("ABCDE", metres, strict=True):
        assert levels.level(1 / (space + 0.01)) == name and levels.level(1 / (space - 0.01)) > name
    assert levels.level(0) == "A" and levels.level(20) == "F"


def test_a_limit_belongs_to_the_band_below():
    own = Levels("own", (("calm", 0), ("busy", 2)))
    assert (own.level(2), own.level(2.0001)) == ("calm", "busy")


@pytest.mark.parametrize("bands", [(), (("a", 1),), (("a", 0), ("b", 2), ("c", 2))])
def test_bands_rise_from_zero(bands):
    with pytest.raises(InputError, match="levels"):
        Levels("own", bands)
