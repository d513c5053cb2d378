"""A stream that is killed and restarted, watched all the while: pytest -m long tests/live does so 100 times."""

import os
import threading
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from crowdcount.inference.prediction import Prediction
from crowdcount.live.backoff import Backoff
from crowdcount.live.channel import Channel, Counting
from crowdcount.live.clock import SystemClock
from crowdcount.live.reader import StreamReader
from crowdcount.live.readings import Readings
from crowdcount.live.source import parse_source
from crowdcount.live.watch import Outputs, Watch
from tests.support.streams import streaming
from tests.support.video import place

EVERY = 0.05
PAUSE = threading.Event()


def show_place(image):
    """Predict as many people as the number of the frame, which is seen in its pixels."""
    index = place(image)
    return Prediction(float(index), np.full((1, 1), index, np.float32), 160, *image.shape[:2])


def until(condition):
    while not condition():
        PAUSE.wait(0.02)


def resident():
    """Return the MiB of memory in use."""
    path = Path("/proc/self/statm")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20 if path.exists() else 0.0


def restart(times, path):
    """Watch a stream that breaks off some times; return channel, readings, outages and memory after each restart."""
    memory, stop = [], threading.Event()
    with (
        streaming() as server,
        Readings(path) as log,
        StreamReader(parse_source(f"gate={server.url}"), backoff=Backoff(0.01, 0.05)) as reader,
    ):
        channel = Channel(reader, Counting(show_place, EVERY, smooth=1), [], [], SystemClock().time())
        watch = Watch([channel], Outputs(log, lambda _: None, print), SystemClock())
        watching = threading.Thread(target=watch.run, args=[stop])
        watching.start()
        for _ in range(times):
            done = channel.readings
            until(lambda done=done: channel.readings >= done + 3)
            server.kill()
            until(lambda: channel.coverage.outage is not None)
            memory.append(resident())
            server.start()
        until(lambda: channel.coverage.outage is None)
        stop.set()
        watching.join()
        return channel, log.series("gate"), log.outages("gate"), memory


def check(times, path):
    channel, readings, outages, memory = restart(times, path)
    assert len(readings) == channel.readings >= 3 * times
    assert [each.counts.count for each in readings] == [round(each.counts.count) for each in readings]
    breaks = [each for each in outages if each.reason != "connecting"]
    assert len(breaks) == times and all(each.ended is not None for each in outages)
    spans = list(pairwise(each.time for each in readings))
    away = {(each.began, each.ended) for each in breaks}
    assert away <= set(spans)  # from the last frame before to the first one after
    watched = sum(end - begin for begin, end in spans if (begin, end) not in away)
    # nothing else is missing: frames are read up to two periods after they came, each time that watching goes on
    assert watched <= EVERY * (len(spans) + channel.late + 2 * (times + 1))
    return readings, memory


def test_three_restarts(tmp_path):
    check(3, tmp_path / "readings.sqlite")


@pytest.mark.long
def test_a_hundred_restarts(tmp_path):
    readings, memory = check(100, tmp_path / "readings.sqlite")
    print(f"{len(readings)} readings; MiB after 10 restarts {memory[10]:.1f}, after 100 {memory[-1]:.1f}")
    assert memory[-1] - memory[10] < 20
