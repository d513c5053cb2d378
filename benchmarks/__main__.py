"""Compare the package with plain reimplementations of the published methods.

    crowdcount benchmark losses --threads 1
    crowdcount benchmark loader --threads 1 --image photo.jpg
    crowdcount benchmark density --threads 1
    crowdcount benchmark matching --threads 1
    crowdcount benchmark localisation --threads 1
    crowdcount benchmark tiles --threads 1
    crowdcount benchmark predict --threads 1
    crowdcount benchmark windows --threads 1
    crowdcount benchmark runtimes --threads 1
    crowdcount benchmark training --threads 1
    crowdcount benchmark service --image photo.jpg
    crowdcount benchmark contrastive --threads 1
    crowdcount benchmark contrastive_table --at blocks
    crowdcount benchmark flow --threads 1 --model ebc/efficientnet_lite0_mixed
    crowdcount benchmark adapt --start MODEL --shanghaitech DIR
    crowdcount benchmark scale --threads 1 --of stages
    crowdcount benchmark default_model --threads 1 --shanghaitech DIR --nobody DIR --heads DIR
    crowdcount benchmark two_sizes --threads 1

All sides of a comparison run in the same process; the best of the repeats counts. Steps that take minutes run once.
Peak memory is measured in a separate process.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2
import torch

from benchmarks import (
    adapt,
    contrastive,
    contrastive_table,
    default_model,
    density,
    flow,
    loader,
    localisation,
    losses,
    matching,
    predict,
    runtimes,
    scale,
    service,
    tiles,
    training,
    two_sizes,
    windows,
)
from benchmarks.race import Row, positive
from crowdcount.cli.parser import make_parser, reports_errors
from crowdcount.files import atomic_write

BENCHMARKS = (
    losses,
    loader,
    density,
    matching,
    localisation,
    tiles,
    predict,
    service,
    training,
    windows,
    scale,
    runtimes,
    default_model,
    two_sizes,
    contrastive,
    contrastive_table,
    flow,
    adapt,
)


@reports_errors("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Run one benchmark, print its table and return the exit status."""
    parser = make_parser(__doc__, "benchmark")
    shared = argparse.ArgumentParser(add_help=False)
    shared.add_argument("--threads", type=positive, default=1, help="threads of torch and OpenCV (default %(default)s)")
    shared.add_argument(
        "--repeats", type=positive, default=5, help="repeats, of which the best counts (default %(default)s)"
    )
    shared.add_argument("--json", type=Path, metavar="FILE", help="also write the rows to a file")
    commands = parser.add_subparsers(required=True)
    for benchmark in BENCHMARKS:
        benchmark.add_command(commands, shared)

    arguments = parser.parse_args(argv)
    torch.set_num_threads(arguments.threads)
    cv2.setNumThreads(arguments.threads)
    rows = arguments.run(arguments)
    _print_table(rows)
    if arguments.json:
        atomic_write(arguments.json, json.dumps(rows, indent=2) + "\n")
    return 0


def _print_table(rows: list[Row]) -> None:
    """Print rows with the same keys as one table."""
    table = [list(rows[0])] + [[_cell(value) for value in row.values()] for row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    for cells in table:
        print("  ".join(cell.rjust(width) for cell, width in zip(cells, widths, strict=True)))


def _cell(value: object) -> str:
    if value is None:
        return "-"
    if not isinstance(value, float):
        return str(value)
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


if __name__ == "__main__":
    sys.exit(main())
