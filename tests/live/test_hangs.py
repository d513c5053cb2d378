"""Servers that accept and then hang: nothing at all, half a frame, or a byte now and then."""

import re
import threading
import time
from itertools import pairwise

import pytest

from crowdcount.live.backoff import Backoff
from crowdcount.live.channel import Channel, Counting
from crowdcount.live.clock import SystemClock
from crowdcount.live.log import LiveReading, Outage
from crowdcount.live.reader import StreamReader
from crowdcount.live.source import parse_source
from crowdcount.live.watch import Outputs, Watch
from tests.support.live import ListLog, count_level
from tests.support.rtsp import RtspServer
from tests.support.streams import StreamServer, streaming

LONG = 120.0
"""Seconds that a test waits for what comes at once, on a machine that is busy."""


def until(condition):
    end = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < end
        threading.Event().wait(0.02)


@pytest.mark.parametrize(
    ("kind", "hang"),
    [("mjpeg", "half"), ("mpegts", "nothing"), ("rtsp", "half"), ("rtsp", "trickle")],
)
def test_the_watchdog_connects_again_and_the_outage_is_recorded(kind, hang):
    log, stop = ListLog(), threading.Event()
    with (
        streaming(kind, {"rtsp": RtspServer}.get(kind, StreamServer)) as server,
        StreamReader(parse_source(server.url), patience=1.0, backoff=Backoff(0.01, 0.05)) as reader,
    ):
        channel = Channel(reader, Counting(count_level, every=0.05, smooth=1), [], [], SystemClock().time())
        watch = Watch([channel], Outputs(log, print, print), SystemClock())
        watching = threading.Thread(target=watch.run, args=[stop], daemon=True)
        watching.start()
        until(lambda: channel.readings >= 3)
        server.hang, connections = hang, server.connections
        until(lambda: server.connections >= connections + 2 and channel.coverage.outage is not None)
        before = channel.readings
        server.hang = None
        until(lambda: channel.readings >= before + 3)
        stop.set()
        watching.join()
    outages = [each for each in log.records if isinstance(each, Outage)]
    assert len(outages) >= 2 and outages[-1].reason != "connecting"
    assert {re.sub(r" \(.*", "", each.reason) for each in outages} <= {
        "connecting",
        "no data for 1 s",
        "no intact frame for 1 s",
    }
    times = [each.time for each in log.records if isinstance(each, LiveReading)]
    spans = {(each.began, each.ended) for each in outages if each.ended is not None and each.began >= times[0]}
    assert spans and spans <= set(pairwise(times))  # no reading within one
