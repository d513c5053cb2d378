"""Experimental: count people who walk through a line of a video.

    crowdcount flow street.mp4 --line 640,100,640,700
    crowdcount flow street.mp4 --line 640,100,640,700 --every 2 --output flow.csv

Density and optical flow give the number of people who crossed the line so far, to its right and to its left: those of
somebody who walks on the screen from the first to the second pixel. Draw it where heads pass, not feet. How far off the
numbers are: docs/ground.md.
"""

import argparse
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

from tqdm import tqdm

from crowdcount.cli.parser import MODEL, add_device, add_weights, make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.files import LineFile
from crowdcount.json_fields import parse_number
from crowdcount.local_path import local_path
from crowdcount.predictor import Predictor
from crowdcount.video.flow import FlowReading, Line, count_flow

_HEAD = "frame,seconds,count,to_right,to_left\n"


@reports_errors("flow")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    line, video = parse_line(args.line), local_path(args.video)
    readings = count_flow(video, Predictor(args.model, args.weights, args.device), line, args.every)
    last = None
    with LineFile(args.output, _HEAD) if args.output else nullcontext() as table:
        for last in tqdm(readings, unit="frame", file=sys.stderr):
            if table is not None:
                table.append(_row(last))
    if last is None:
        raise InputError(f"{video}: has no frame that was counted")
    right, left = last.crossed
    print(f"{video}: experimental: {right:.1f} to the right, {left:.1f} to the left in {last.seconds:.1f} s")
    return 0


def parse_line(text: str) -> Line:
    """Return the line of a text such as 640,100,640,700.

    Raises:
        InputError: it is no such text, or the line is too short.
    """
    numbers = [parse_number(word) for word in text.split(",")]
    if len(numbers) != 4 or any(number != number for number in numbers):
        raise InputError(f"--line: {text!r} is no line; give x1,y1,x2,y2 in pixels, such as 640,100,640,700")
    return Line((numbers[0], numbers[1]), (numbers[2], numbers[3]))


def _row(reading: FlowReading) -> str:
    numbers = (reading.seconds, reading.count, *reading.crossed)
    return f"{reading.index}," + ",".join(f"{number:.3f}" for number in numbers) + "\n"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "flow", "VIDEO --line X1,Y1,X2,Y2 [OPTIONS]")
    add = parser.add_argument
    add("video", type=Path, metavar="VIDEO", help="a video of a camera that does not move")
    add("--line", required=True, metavar="X1,Y1,X2,Y2", help="its ends in pixels of the video")
    add("--every", type=int, default=5, metavar="N", help="count every N-th frame (default: %(default)s)")
    add("--output", type=Path, metavar="FILE", help="write a table of the counted frames (CSV)")
    add("--model", help=f"{MODEL} (default: the model in the package)")
    add_weights(parser)
    add_device(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
