import pytest

from crowdcount.live.lag import Lag


def lags(rate, decode, seconds, pts_rate=1.0):
    """Simulate a stream: frames arrive at a rate, and each takes some seconds to decode; return all lags."""
    lag, found, free = Lag(), [], 0.0
    for index in range(round(rate * seconds)):
        sent = index / rate
        waited = max(0.0, sent - free)
        free = max(sent, free) + decode
        found.append(lag.update(1000 + free, 5 + sent * pts_rate, waited))
    return found


def test_who_keeps_up_has_none():
    assert max(lags(25, 0.03, 600)) < 0.05


def test_who_is_too_slow_falls_behind_by_what_is_missing():
    found = lags(25, 0.044, 100)
    assert found[-1] == pytest.approx(10, abs=0.3)


def test_a_clock_that_drifts_is_no_lag():
    assert max(lags(25, 0.03, 600, pts_rate=0.9)) < 0.4
    assert max(lags(25, 0.03, 600, pts_rate=1.1)) < 0.4


def test_a_pause_of_the_source_is_no_lag():
    lag = Lag()
    frames = ((0, 0, 0), (0.04, 0.04, 0.03), (12.08, 0.08, 12.03), (12.12, 0.12, 0.03))
    assert [lag.update(*frame) for frame in frames] == pytest.approx([0, 0, 0, 0])
