"""Draw the learning curve of a training as SVG: the loss of every epoch, and the validation error if there is one.

    python -m benchmarks.learning_curve runs/NAME/version_0/metrics.csv [version_1/metrics.csv ...] --output curve.svg

For a run resumed in another folder, give the tables in order; if an epoch occurs in several, the last one counts. It
measures nothing, so it is no command of `crowdcount benchmark`.
"""

import csv
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from crowdcount.cli.parser import make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.files import atomic_write

WIDTH, HEIGHT, LEFT, TOP = 560, 260, 70, 30
COLUMNS = ("train/loss", "val/macro_nae")
COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#762a83", "#e08214", "#1e1e1e")

Curve = dict[int, float]
"""Values by epoch."""


def read_curves(tables: Sequence[Path], columns: Sequence[str]) -> dict[str, Curve]:
    """Read columns of a run's metrics by epoch.

    Raises:
        InputError: a table is missing, or no table has a value in a column.
    """
    curves: dict[str, Curve] = {column: {} for column in columns}
    for path in tables:
        if not path.is_file():
            raise InputError(f"{path}: no such table; give the metrics.csv of a run")
        with path.open(encoding="utf-8", newline="") as file:
            for row in csv.DictReader(file):
                for column in columns:
                    if row.get(column):
                        curves[column][int(row["epoch"])] = float(row[column])
    for column, curve in curves.items():
        if not curve:
            raise InputError(f"{column}: no table has a value in such a column")
    return curves


def draw(curves: Mapping[str, Curve]) -> str:
    """Return an SVG of curves over the epochs, each divided by its first value, which the legend states."""
    last = max(max(curve) for curve in curves.values())
    top = max(value / next(iter(curve.values())) for curve in curves.values() for value in curve.values())

    def place(epoch: int, value: float) -> tuple[float, float]:
        return LEFT + epoch / max(last, 1) * WIDTH, TOP + HEIGHT * (1 - value / top)

    body = f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#dddddd"/>'
    for epoch in range(0, last + 1, max(1, last // 8)):
        body += _text(place(epoch, 0)[0], TOP + HEIGHT + 18, str(epoch + 1))
    body += _text(LEFT + WIDTH / 2, TOP + HEIGHT + 36, "epoch") + _text(LEFT - 24, TOP + 4, f"{top:.2f}")
    for colour, (number, (name, curve)) in zip(COLOURS, enumerate(curves.items()), strict=False):
        first, final = next(iter(curve.values())), list(curve.values())[-1]
        points = " ".join("{:.1f},{:.1f}".format(*place(epoch, value / first)) for epoch, value in curve.items())
        body += f'<polyline points="{points}" fill="none" stroke="{colour}" stroke-width="2"/>'
        label = f"{name}: {first:.3g} to {final:.3g}"
        body += f'<text x="{LEFT + WIDTH + 12}" y="{TOP + 16 + 22 * number}" fill="{colour}">{escape(label)}</text>'
    size = f'width="{LEFT + WIDTH + 320}" height="{TOP + HEIGHT + 50}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">{body}</svg>\n'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="#1e1e1e">{escape(words)}</text>'


@reports_errors("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Draw the curve and return the exit status."""
    parser = make_parser(__doc__, "benchmark")
    parser.add_argument("tables", type=Path, nargs="+", help="metrics.csv of the run")
    parser.add_argument(
        "--column", action="append", metavar="NAME", help=f"may be repeated (default: {', '.join(COLUMNS)})"
    )
    parser.add_argument("--from-epoch", type=int, default=1, metavar="N", help="omit earlier epochs (default 1)")
    parser.add_argument("--output", type=Path, required=True, metavar="FILE")
    arguments = parser.parse_args(argv)
    curves = read_curves(arguments.tables, arguments.column or COLUMNS)
    kept = {name: {e: v for e, v in curve.items() if e + 1 >= arguments.from_epoch} for name, curve in curves.items()}
    if not all(kept.values()):
        raise InputError(f"--from-epoch: {arguments.from_epoch} is behind the last epoch of a curve")
    atomic_write(arguments.output, draw(kept))
    return 0


if __name__ == "__main__":
    sys.exit(main())
