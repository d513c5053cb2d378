"""Checks of numbers and words: what they let through, and how they refuse the rest."""

import math
from dataclasses import fields

import pytest

from crowdcount.checks import check_choice, check_number
from crowdcount.errors import InputError
from crowdcount.inference import Inference, PointInference
from crowdcount.losses import DmCount
from crowdcount.models.blockwise.loss import Dace
from crowdcount.models.hmode.loss import HmodeLoss
from crowdcount.models.rec.loss import RecLoss
from crowdcount.models.rec.matcher import PointMatcher


@pytest.mark.parametrize(
    ("value", "limits", "options", "message"),
    [
        (0, (0,), {}, None),
        (1, (0, 1), {}, None),
        (1, (0, 1), {"above": True}, None),
        (10**400, (0,), {}, None),
        (-1, (0,), {}, "key: -1 must be at least 0"),
        (0, (0,), {"above": True}, "key: 0 must be above 0"),
        (1.5, (0, 1), {}, "key: 1.5 must be between 0 and 1"),
        (0.0, (0, 1), {"above": True}, "key: 0.0 must be above 0 and at most 1"),
        (0, (1,), {"hint": "or null for none"}, "key: 0 must be at least 1, or null for none"),
        (math.nan, (0,), {}, "key: nan must be finite and at least 0"),
        (math.inf, (0,), {}, "key: inf must be finite and at least 0"),
        (-math.inf, (0, 1), {}, "key: -inf must be finite and between 0 and 1"),
    ],
)
def test_numbers(value, limits, options, message):
    if message is None:
        check_number("key", value, *limits, **options)
        return
    with pytest.raises(InputError) as refused:
        check_number("key", value, *limits, **options)
    assert str(refused.value) == message


def test_words():
    check_choice("key", "a", ("a", "b"))
    check_choice("key", None, (None, "a"))
    with pytest.raises(InputError, match="key: 'c' is not one of null, a"):
        check_choice("key", "c", (None, "a"))


@pytest.mark.parametrize("settings", [Dace, DmCount, HmodeLoss, PointMatcher, RecLoss, PointInference, Inference])
@pytest.mark.parametrize("value", [-1, math.nan, math.inf])
def test_every_number_of_the_settings_is_checked(settings, value):
    """A field of a number that nobody checks would take a misprint."""
    numbers = [field.name for field in fields(settings) if field.type in (int, float, int | None, float | None)]
    assert numbers
    for name in numbers:
        with pytest.raises(InputError, match=rf"{name}: {value} must be"):
            settings(**{name: value})
