import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crowdcount.errors import InputError
from crowdcount.live.alarms import Alarm, Rule, parse_rule


def rule(on=10.0, off=8.0, dwell=3.0):
    return Rule("count>=10", "count", on, off, dwell)


def changes(alarm, values):
    """Return the changes that values, one a second, make: (second, change)."""
    found = ((second, alarm.update(float(second), value)) for second, value in enumerate(values))
    return [(second, change) for second, change in found if change]


def slow(values, on, off, dwell):
    """Say the same from the whole history: at each second look back for as long as the dwell time."""
    found, raised, since = [], False, 0
    for now in range(len(values)):
        held = range(now - dwell, now + 1)
        if held[0] < since:
            continue
        if all((values[each] < off) if raised else (values[each] >= on) for each in held):
            raised, since = not raised, now + 1
            found.append((now, "raised" if raised else "cleared"))
    return found


@given(st.lists(st.integers(5, 13).map(float), max_size=60), st.integers(0, 4), st.sampled_from([10.0, 8.0, 6.0]))
def test_it_is_what_the_history_says(values, dwell, off):
    assert changes(Alarm(rule(off=off, dwell=float(dwell))), values) == slow(values, 10.0, off, dwell)


def test_values_between_the_thresholds_change_nothing():
    alarm = Alarm(rule(dwell=0))
    assert changes(alarm, [9, 10, 9, 8, 7.9, 9]) == [(1, "raised"), (4, "cleared")]


def test_a_single_high_value_is_not_enough():
    assert changes(Alarm(rule()), [0, 12, 0, 12, 12, 0, 12, 12, 12, 12]) == [(9, "raised")]


def test_what_is_between_does_not_count_as_high_or_low():
    alarm = Alarm(rule())
    alarm.update(0, 12)
    alarm.interrupt()
    assert alarm.state == "quiet"
    assert alarm.update(3600, 12) is None and alarm.update(3603, 12) == "raised"
    alarm.update(3604, 0)
    alarm.interrupt()
    assert alarm.state == "raised" and alarm.update(7200, 0) is None and alarm.update(7203, 0) == "cleared"


def test_rules_as_text():
    assert parse_rule("main gate>=50.5 off=40 for=30 miss=0.05") == Rule(
        "main gate>=50.5 off=40 for=30 miss=0.05", "main gate", 50.5, 40.0, 30.0, 0.05
    )


WRONG = "gate|gate>50|>=5|gate>=|gate>=x|gate>=5 off=6|gate>=5 foo=1|gate>=5 for=1 for=2|gate>=0|gate>=nan"
WRONG += "|gate>=5 for=-1|gate>=5 miss=0|gate>=5 miss=0.9"


@pytest.mark.parametrize("text", WRONG.split("|"))
def test_no_rules(text):
    with pytest.raises(InputError, match=re.escape(text)):
        parse_rule(text)


def test_rules_of_one_source_and_of_all():
    assert rule().applies_to("camera", ["gate"]) == "count"
    assert parse_rule("gate>=5").applies_to("camera", ["gate"]) == "gate"
    assert parse_rule("gate>=5").applies_to("camera", ["door"]) is None
    assert parse_rule("camera/gate>=5").applies_to("camera", ["gate"]) == "gate"
    assert parse_rule("camera/count>=5").applies_to("square", ["gate"]) is None
