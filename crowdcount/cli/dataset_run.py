"""Counting in a whole data set: `crowdcount predict --engine`."""

import argparse
import sys
from pathlib import Path
from typing import Final, get_args

from tqdm import tqdm

from crowdcount.batch.report import PARTITION, Engine, Progress
from crowdcount.cli.parser import Options, Parser
from crowdcount.cli.sources import expanded
from crowdcount.local_path import is_address

_RAY: Final = ("workers", "cpus", "gpus", "address")
DATASET_OPTIONS: Final = ("engine", "column", "partition", *_RAY)
"""Options of `predict` that concern data sets alone."""

_FILES: Final = ("save", "zones", "camera", "expression", "interval", "intervals", "every", "smooth")
"""Options that concern the files of a call without an engine."""


def folder(text: str) -> Path | str:
    """Return the folder that --output names; an address in an object store stays a text."""
    return text if is_address(text) else Path(text)


def add_dataset_options(group: Options) -> None:
    """Add --engine and what it takes."""
    add = group.add_argument
    add(
        "--engine",
        choices=get_args(Engine),
        help="write a table of Parquet partitions to --output: local counts in this process, ray on many; the files "
        "may also be lists (.txt), tables (.parquet) and addresses (s3://, gs://)",
    )
    add("--column", metavar="NAME", help="of tables: paths, or bytes of image files (default: image)")
    add("--partition", type=int, metavar="N", help=f"images of a partition (default: {PARTITION})")
    add("--workers", type=int, metavar="N", help="processes of ray (default: 1)")
    add("--cpus", type=float, metavar="N", help="CPUs, and threads, of each (default: 1)")
    add("--gpus", type=float, metavar="N", help="GPUs of each, or a fraction of one (default: 0)")
    add("--address", help="of a running Ray cluster, such as auto (default: start Ray on this machine)")


def check_dataset_options(parser: Parser, args: argparse.Namespace) -> None:
    """End the program where options do not go together."""
    engine = args.engine
    given = DATASET_OPTIONS[1:] if engine is None else _FILES if engine == "ray" else (*_FILES, *_RAY)
    wrong = next((name for name in given if getattr(args, name) != parser.get_default(name)), None)
    if wrong is not None:
        why = "needs --engine" if engine is None else f"is not for --engine {engine}"
        parser.error(f"--{wrong}: {why}")
    if engine is None and isinstance(args.output, str):
        parser.error(f"--output: {args.output} is an address, which needs --engine")
    if engine is not None and args.output is None:
        parser.error("--engine needs --output, the folder to write the table to")


def run_dataset(args: argparse.Namespace) -> int:
    """Count, print errors and a summary, and return the exit status."""
    from crowdcount.batch.dataset import count_dataset  # which imports torch: exported models count without it

    chosen = {name: value for name in DATASET_OPTIONS if (value := getattr(args, name)) is not None}
    names = ("weights", "device", "precision", "max_memory", "long_side", "image_scale", "ignore")
    options = {name: getattr(args, name) for name in names}
    with tqdm(file=sys.stderr, unit="image") as bar:

        def show(progress: Progress) -> None:
            bar.total = progress.total
            bar.update(progress.images)
            for error in progress.errors:
                bar.write(f"crowdcount predict: {error}", sys.stderr)

        report = count_dataset(
            list(expanded(args.sources)),
            args.output,
            args.model,
            resume=args.resume,
            batch=args.batch,
            progress=show,
            value_range=args.range,
            **chosen,
            **options,
        )
    for line in report.left_out:
        print(f"crowdcount predict: {line}", file=sys.stderr)
    print(f"{report.output}: {report.images} images, {report.kept} of them counted before, {report.errors} with errors")
    return 2 if report.errors else 0
