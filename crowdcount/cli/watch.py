"""Count people in live streams, cameras and videos, and log, tell and raise alarms.

    crowdcount watch rtsp://user:password@camera/stream
    crowdcount watch gate=rtsp://camera/1 square=http://camera/video.mjpg --every 2 --output counts.sqlite
    crowdcount watch 0 --zones zones.json --alarm "entrance>=50 off=40 for=30" --webhook https://host/path
    crowdcount watch rtsp://camera/1 --intervals camera.json --interval 0.9 --alarm "count>=500 miss=0.05"
    crowdcount watch walk.mp4 --output walk.csv --quiet
    crowdcount watch rtsp://camera/1 --ignore posters.png --image-scale 0.5 --keep-days 30

A source is an address (rtsp, http, rtmp, udp, srt ...), the number or device of a camera of this machine, or a video,
which is played once at its own pace; NAME=SOURCE names it. Only the newest frame is counted. A connection that ends or
hangs is opened again, after 1 to 60 seconds. Passwords in addresses are neither printed nor stored.

--output is a SQLite file (default: readings.sqlite), or a table .csv, or .jsonl; it is continued. Spans without frames
are in it as outages, so that they are told from a count of zero. No image is stored, unless --snapshots asks for
blurred ones.

An alarm is raised when the smoothed count of a zone, or of the whole image ("count"), is at least N for some seconds
(for=, default 0), and cleared when it is below off= (default: 90 % of N) for as long. With miss=SHARE the upper bound
of the count is compared; the model must be calibrated for it. Raised and cleared alarms, and sources that are lost for
30 seconds and return, are sent as JSON to --webhook, and to the standard input of --command.

After Ctrl-C the exit status is 130, after SIGTERM 143; the frame that is being counted is finished, messages that wait
get five seconds, and the numbers of each source are printed. A second signal ends it at once.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import get_args

from crowdcount.checks import check_number
from crowdcount.cli.interval_options import add_intervals
from crowdcount.cli.parser import MODEL, add_camera, add_device, add_weights, make_parser, reports_errors
from crowdcount.cli.signals import Stop
from crowdcount.cli.watch_sources import predictors_of, zones_of
from crowdcount.errors import InputError
from crowdcount.live.alarms import parse_rule
from crowdcount.live.channel import Channel, Counting, Record
from crowdcount.live.clock import SystemClock
from crowdcount.live.log import LiveReading, Log, Outage, utc_text
from crowdcount.live.notify import Command, Notifier, Webhook, close_all
from crowdcount.live.reader import StreamReader
from crowdcount.live.readings import Readings
from crowdcount.live.snapshots import Snapshots
from crowdcount.live.source import parse_sources
from crowdcount.live.tables import SUFFIXES, TextLog
from crowdcount.live.watch import Outputs, Watch, check_rules
from crowdcount.predictor import Precision, Predictor
from crowdcount.visualize import interval_text


@reports_errors("watch")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    sources, stop = parse_sources(args.sources), Stop()
    zones = zones_of(args.zones, sources)
    rules = [parse_rule(text) for text in args.alarm]
    deliver = [Webhook(url) for url in args.webhook] + [Command(_words(line)) for line in args.command]
    check_number("--every", args.every, 0, above=True, hint="in seconds")
    check_number("--smooth", args.smooth, 1)
    check_number("--snapshot-every", args.snapshot_every, 0, above=True, hint="in seconds")
    if args.keep_days is not None:
        check_number("--keep-days", args.keep_days, 0, above=True)
    predictors = predictors_of(args, sources, rules)
    names = {source.name: [zone.name for zone in zones[source.name]] for source in sources}
    check_rules(rules, names, args.smooth, predictors[sources[0].name].intervals)

    with ExitStack() as stack, stop.on_signals():
        log = _log(args.output, list(dict.fromkeys(name for each in names.values() for name in each)), args.keep_days)
        stack.callback(_close, log)
        notifiers = [Notifier(each, _warn) for each in deliver]
        stack.callback(close_all, notifiers)
        clock = SystemClock()
        readers = [stack.enter_context(StreamReader(source, args.patience)) for source in sources]
        channels = [
            Channel(each, _counting(args, predictors[each.source.name]), zones[each.source.name], rules, clock.time())
            for each in readers
        ]
        snapshots = None if args.snapshots is None else Snapshots(args.snapshots, args.keep_snapshots)
        tell = _Teller(args.quiet)
        outputs = Outputs(log, tell, _warn, notifiers, snapshots, args.snapshot_every)
        Watch(channels, outputs, clock).run(stop)
        for each in readers:
            each.stop()
        failed = [each for each in readers if each.source.kind == "file" and each.trouble]
    for each in failed:
        _warn(f"{each.source.name}: {each.trouble}")
    for line in _summary(channels, notifiers, log):
        print(line, file=sys.stderr)
    return stop.status or (2 if failed else 0)


def _counting(args: argparse.Namespace, predictor: Predictor) -> Counting:
    return Counting(lambda image: predictor.predict_batch([image])[0], args.every, args.smooth, args.interval)


class _Teller:
    """Prints records: readings on stdout, what happens to sources on stderr."""

    def __init__(self, quiet: bool) -> None:
        self._quiet = quiet

    def __call__(self, record: Record) -> None:
        if isinstance(record, LiveReading):
            if not self._quiet:
                print(_reading_text(record), flush=True)
        elif isinstance(record, Outage):
            state = f"no frames: {record.reason}" if record.ended is None else "frames again"
            _warn(f"{record.source}: {state}")
        elif record.kind in ("raised", "cleared"):
            print(f"{utc_text(record.time)} {record.source}: ALARM {record.kind}: {record.alarm}", flush=True)


def _reading_text(record: LiveReading) -> str:
    counts = record.counts
    smoothed = f"{counts.smoothed:.1f}" if counts.interval is None else interval_text(counts.smoothed, counts.interval)
    zones = "".join(f", {name} {value:.1f}" for name, value in counts.smoothed_zones.items())
    return f"{utc_text(record.time)} {record.source}: count {counts.count:.1f}, smoothed {smoothed}{zones}"


def _summary(channels: Sequence[Channel], notifiers: Sequence[Notifier], log: Log) -> Iterator[str]:
    """Yield lines with the numbers of the call."""
    for channel in channels:
        numbers = channel.frames.statistics
        yield (
            f"{channel.source.name}: {channel.readings} readings of {numbers.received} frames "
            f"({numbers.dropped} replaced by newer ones, {numbers.damaged} damaged), {channel.late} readings late; "
            f"{numbers.connections} connections in {numbers.attempts} attempts, {numbers.stalls} stalls, "
            f"{channel.coverage.seconds:.1f} s of outages; largest lag {numbers.most_lag:.1f} s"
        )
    if notifiers:
        delivered, lost = (sum(getattr(each, name) for each in notifiers) for name in ("delivered", "lost"))
        yield f"messages: {delivered} delivered, {lost} lost"
    if log.lost:
        yield f"log: {log.lost} records lost, as it could not be written"


def _close(log: Log) -> None:
    try:
        log.close()
    except OSError as error:
        _warn(f"log: {error}; they are lost")


def _log(path: Path, zones: Sequence[str], keep_days: float | None) -> Log:
    """Return the log of a file.

    Raises:
        InputError: the file is another one, or records are to be deleted from a text.
    """
    if path.suffix.lower() not in SUFFIXES:
        return Readings(path, keep_days)
    if keep_days is not None:
        raise InputError(
            f"--keep-days: nothing is deleted from {path}; write to SQLite, or begin a new file now and then"
        )
    return TextLog(path, zones)


def _words(line: str) -> list[str]:
    """Return the words of a command.

    Raises:
        InputError: there are none, or a quote is not closed.
    """
    try:
        words = shlex.split(line)
    except ValueError as error:
        raise InputError(f"--command {line}: {error}") from error
    if not words:
        raise InputError("--command: is empty; name a program")
    return words


def _warn(line: str) -> None:
    print(f"crowdcount watch: {line}", file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "watch", "SOURCE ... [OPTIONS]")
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="address, camera or video, or NAME=SOURCE")
    model = parser.add_argument_group("model")
    model.add_argument("--model", help=f"{MODEL} (default: the model in the package)")
    add_weights(model)
    add_intervals(model)
    add_device(model)
    model.add_argument("--precision", choices=get_args(Precision), default="float32", help="(default: %(default)s)")
    add_camera(parser.add_argument_group("camera"), several=True)
    _add_counting(parser.add_argument_group("counting"))
    _add_outputs(parser.add_argument_group("outputs"))
    return parser


def _add_counting(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add("--every", type=float, default=1.0, metavar="SECONDS", help="between two readings (default: %(default)s)")
    add("--smooth", type=int, default=5, metavar="N", help="moving average over N readings (default: %(default)s)")
    add("--zones", action="append", default=[], metavar="[NAME=]FILE", help="zones of a source; may be repeated")
    add("--interval", type=float, metavar="LEVEL", help="add intervals at this level, such as 0.9")
    add(
        "--patience",
        type=float,
        default=20.0,
        metavar="SECONDS",
        help="without an intact frame, after which a connection is given up (default: %(default)s)",
    )


def _add_outputs(group: argparse._ArgumentGroup) -> None:
    add = group.add_argument
    add(
        "--output",
        type=Path,
        default=Path("readings.sqlite"),
        metavar="FILE",
        help="SQLite, .csv or .jsonl (default: %(default)s)",
    )
    add("--keep-days", type=float, metavar="N", help="delete older records from SQLite (default: keep all)")
    add(
        "--alarm", action="append", default=[], metavar="RULE", help="such as 'gate>=50 off=40 for=30'; may be repeated"
    )
    add("--webhook", action="append", default=[], metavar="URL", help="post events there; may be repeated")
    add("--command", action="append", default=[], metavar="WORDS", help="run for each event, without a shell")
    add("--snapshots", type=Path, metavar="FOLDER", help="save blurred images with their density there")
    add("--snapshot-every", type=float, default=600.0, metavar="SECONDS", help="besides alarms (default: %(default)s)")
    add("--keep-snapshots", type=int, default=100, metavar="N", help="delete older ones (default: %(default)s)")
    add("--quiet", action="store_true", help="do not print readings")


if __name__ == "__main__":
    sys.exit(main())
