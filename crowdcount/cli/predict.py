"""Count people in images and videos.

    crowdcount predict photo.jpg
    crowdcount predict photos/ 'more/**/*.png' --output results
    crowdcount predict photos/ --model RUN/checkpoints/best.ckpt --output results --save csv json npz
    find . -name '*.jpg' | crowdcount predict - --output results
    crowdcount predict square.jpg --zones zones.json --output results
    crowdcount predict square.jpg --camera camera.yaml --zones zones.json --output results
    crowdcount predict street.jpg --model my_counter --interval 0.9 --output results
    crowdcount predict street.jpg --ignore posters.png --image-scale 0.5 --output results
    crowdcount predict walk.mp4 --every 10 --smooth 5 --output results
    crowdcount predict photo.jpg --model REC_RUN/checkpoints/best.ckpt --expression "person in red"
    crowdcount predict photos/ --model counter.onnx --output results

    crowdcount predict photos/ --output results --resume
    crowdcount predict 's3://bucket/photos' --engine ray --workers 8 --gpus 1 --output s3://bucket/counts

Prints one line per file. --output FOLDER gets counts.csv, counts.json, NAME.npz (density, points, class probabilities)
and NAME_overlay.png as --save asks for them; for a video NAME_counts.csv and NAME_counted.mp4, which holds the counted
frames only. Zones are polygons ({"entrance": [[x, y], ...]}, LabelMe, GeoJSON) or masks, in pixels. Nobody is counted
under the pixels of the mask --ignore that are not black; the overlay hatches them.

The .csv tables and counts.jsonl, the record of the call, grow by a line as soon as a file or frame is counted; whatever
ends the call, they hold what was counted so far, and --resume goes on. A file that cannot be counted, or an output that
cannot be written, is reported and the others are done; the exit status is then 2, also where a folder holds images in
formats that are not read, which are named. After Ctrl-C it is 130, after SIGTERM 143.

With --engine the files are a data set of any size: the result is one table of Parquet partitions (docs/scale.md).
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO, get_args

from tqdm import tqdm

from crowdcount.cli.count_run import Run
from crowdcount.cli.dataset_run import add_dataset_options, check_dataset_options, folder, run_dataset
from crowdcount.cli.interval_options import add_intervals
from crowdcount.cli.parser import (
    MODEL,
    Options,
    Parser,
    add_camera,
    add_device,
    add_expression,
    add_weights,
    add_zones,
    make_parser,
    reports_errors,
)
from crowdcount.cli.signals import exit_status, terminable
from crowdcount.cli.sources import find_sources
from crowdcount.cli.tables import CountResult
from crowdcount.cli.word_order import Values
from crowdcount.errors import InputError
from crowdcount.ground.columns import density_text
from crowdcount.inference.base_predictor import DEFAULT_MEMORY, Precision
from crowdcount.inference.prediction import DOUBT_FLOOR, DOUBTFUL
from crowdcount.video.read import is_video
from crowdcount.visualize import interval_text

KINDS = ("csv", "json", "npz", "overlay")


@reports_errors("predict")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _arguments(argv)
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    if args.engine is not None:
        return _dataset(args)
    found = find_sources(args.sources)
    for line in found.left_out:
        _warn(line)
    if found.drawings:
        _warn(f"{len(found.drawings)} drawings of crowdcount are left out, such as {found.drawings[0]}")
    if not found.files:
        raise InputError("\n".join(found.missing) or "no file was named: standard input is empty")
    run = Run(args, found.files)
    for error in found.missing:
        _warn(error)
    with terminable(), run:
        return max(_report(run), 2 if found.missing else 0)


def _dataset(args: argparse.Namespace) -> int:
    try:
        with terminable():
            return run_dataset(args)
    except KeyboardInterrupt as stop:
        _warn("interrupted; --resume goes on")
        return exit_status(stop)


def _report(run: Run) -> int:
    """Count in the files, print a line for each of them and return the exit status."""
    total, done, wrong = len(run.files), 0, 0
    if run.results.found:
        _warn(f"{len(run.results.found)} files were counted before, {total} are to be counted")
    try:
        for path, each in tqdm(run.count(), total=total, disable=total < 2, file=sys.stderr, unit="file"):
            done, wrong = done + 1, wrong + bool(each.error)
            if each.count is not None:
                _say(f"{each.image}: {_summary(each)}", sys.stdout)
            if each.doubt is not None and each.doubt > DOUBTFUL:
                difference = each.doubt * max(each.count or 0, DOUBT_FLOOR)
                _warn(f"{each.image}: doubtful: the counts at full and half size differ by {difference:.1f} people")
            if each.error:
                _warn(each.error)
            try:
                run.results.add(path, each)
            except OSError as error:
                _warn(f"{run.output and run.output.folder}: no line can be written now ({error.strerror}); tried again")
    except KeyboardInterrupt as stop:
        resume = "; --resume goes on" if run.output is not None else ""
        _warn(f"interrupted after {done} of {total} files{resume}")
        return exit_status(stop)
    if wrong and total > 1:
        _warn(f"{wrong} of {total} files have errors")
    return 2 if wrong else 0


def _warn(line: str) -> None:
    _say(f"crowdcount predict: {line}", sys.stderr)


def _say(line: str, file: TextIO) -> None:
    """Print a line beside the progress bar."""
    tqdm.write(line, file)


def _summary(each: CountResult) -> str:
    known = each.part_intervals
    parts = ", ".join(
        f"{name} {interval_text(number, known[name]) if name in known else f'{number:.1f}'}"
        for name, number in each.parts.items()
    )
    words = f"mean {each.text}" if is_video(each.image) else each.text
    words += "" if each.ground is None else f", {density_text(each.ground)}"
    return f"{words} ({parts})" if parts else words


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = _parser()
    args = parser.parse_args(argv)
    for name in ("batch", "every", "smooth"):
        if getattr(args, name) < 1:
            parser.error(f"--{name}: {getattr(args, name)} must be at least 1")
    if args.save is not None and args.output is None:
        parser.error("--save needs --output, the folder to write to")
    if args.resume and args.output is None:
        parser.error("--resume needs --output, the folder to go on in")
    check_dataset_options(parser, args)
    args.save = args.save or ("csv", "overlay")
    return args


def _parser() -> Parser:
    parser = make_parser(__doc__, "predict", "FILE ... [OPTIONS]")
    parser.add_argument(
        "sources", nargs="+", metavar="FILE", help="images, videos, folders or patterns; - reads their names from stdin"
    )
    model = parser.add_argument_group("model")
    model.add_argument(
        "--model",
        help=f"{MODEL}; or an .onnx or .xml file of `crowdcount export`, which counts without torch (default: the "
        "model in the package)",
    )
    add_weights(model)
    add_expression(model)
    add_camera(parser.add_argument_group("camera"))
    results = parser.add_argument_group("results")
    add_zones(results, "count within these zones as well")
    add = results.add_argument
    add(
        "--camera",
        type=Path,
        metavar="FILE",
        help="add people per square metre, with a camera calibrated by crowdcount camera",
    )
    add("--output", type=folder, metavar="FOLDER", help="write results there; those of an earlier call are replaced")
    add(
        "--save", action=Values, choices=KINDS, metavar="KIND", help=f"any of {', '.join(KINDS)} (default: csv overlay)"
    )
    add(
        "--interval",
        type=float,
        metavar="LEVEL",
        help="add an interval of each count at this level, such as 0.9; it holds for images like those of the "
        "calibration, nothing is guaranteed for others",
    )
    add_intervals(results)
    add("--resume", action="store_true", help="keep what an earlier call with the same settings counted in --output")
    add = parser.add_argument_group("videos").add_argument
    add("--every", type=int, default=10, metavar="N", help="count every N-th frame (default: %(default)s)")
    add("--smooth", type=int, default=5, metavar="N", help="average over N counted frames (default: %(default)s)")
    parser.add_argument_group("images of more than 8 bits").add_argument(
        "--range",
        nargs=2,
        type=float,
        metavar=("LOW", "HIGH"),
        help="values of black and white, 0 4095 for 12 bits (default: 0 65535, or 0 1 for floats)",
    )
    add_dataset_options(parser.add_argument_group("data sets of any size"))
    _add_resources(parser.add_argument_group("speed and memory"))
    return parser


def _add_resources(group: Options) -> None:
    add = group.add_argument
    add("--batch", type=int, default=1, metavar="N", help="images of one size counted together (default: %(default)s)")
    add_device(group)
    add("--precision", choices=get_args(Precision), default="float32", help="of the network (default: %(default)s)")
    limit = f"{DEFAULT_MEMORY:g} where tiles are exact, else none"
    add(
        "--max-memory",
        type=float,
        metavar="GIB",
        help=f"memory beside the model; larger images are counted in tiles (default: {limit})",
    )


if __name__ == "__main__":
    sys.exit(main())
