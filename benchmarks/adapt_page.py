"""Write the measured part of docs/adapt.md, and docs/adapt.svg, from the runs in docs/adapt.json.

    python -m benchmarks.adapt_page
    python -m benchmarks.adapt_page --runs runs/adapt

The second form first takes over the runs of `crowdcount benchmark adapt`.
"""

import json
import sys
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from benchmarks.adapt import LEVEL, read_runs, summary
from benchmarks.race import Row
from crowdcount.cli.parser import make_parser, reports_errors
from crowdcount.errors import InputError
from crowdcount.files import atomic_write

DOCS: Final = Path(__file__).parents[1] / "docs"
PAGE, CURVE, MEASURED = DOCS / "adapt.md", DOCS / "adapt.svg", DOCS / "adapt.json"
BEGIN, END = "<!-- measured: written by python -m benchmarks.adapt_page -->\n", "<!-- end of measured -->\n"

WIDTH, HEIGHT, LEFT, TOP = 420, 240, 60, 30
COLOURS = ("#2166ac", "#b2182b", "#1b7837", "#762a83")


@reports_errors("benchmark")
def main(argv: Sequence[str] | None = None) -> int:
    """Write page and curve, and return the exit status."""
    parser = make_parser(__doc__, "benchmark")
    parser.add_argument("--runs", type=Path, metavar="FOLDER", help="runs to take over")
    arguments = parser.parse_args(argv)
    if arguments.runs is not None:
        lines = ",\n".join(json.dumps(run) for run in read_runs(arguments.runs))
        atomic_write(MEASURED, f"[\n{lines}\n]\n")
    runs = json.loads(MEASURED.read_text())
    atomic_write(PAGE, page(PAGE.read_text(), runs))
    atomic_write(CURVE, curve(summary(runs)))
    return 0


def page(text: str, runs: Sequence[Row]) -> str:
    """Return the text of the page with the measured part for some runs.

    Raises:
        InputError: the text has no such part.
    """
    head, begin, rest = text.partition(BEGIN)
    _, end, tail = rest.partition(END)
    if not begin or not end:
        raise InputError(f"{PAGE}: has no part between {BEGIN.strip()!r} and {END.strip()!r}")
    return head + begin + table(summary(runs)) + end + tail


def table(rows: Sequence[Row]) -> str:
    """Return the rows of `summary` as a table."""
    if not rows:
        return "\nIt has not been run.\n\n"
    lines = [
        "",
        "| site | labels | frames are | frames | runs | start MAE | MAE (lowest to highest) | worse | levels taken "
        f"| covered at {LEVEL:.0%} | seconds |",
        "|---|---|---|--:|--:|--:|--:|--:|---|--:|--:|",
    ]
    lines += [
        f"| {row['site']} | {row['labels']} | {row['draw']} | {row['frames']} | {row['runs']} "
        f"| {row['start MAE']:.1f} | {row['MAE']:.1f} ({row['lowest']:.1f} to {row['highest']:.1f}) "
        f"| {row['worse than the start']} | {row['levels']} | {row['covered']:.2f} | {row['seconds']:.0f} |"
        for row in rows
    ]
    return "\n".join([*lines, "", ""])


def curve(rows: Sequence[Row]) -> str:
    """Return an SVG of the error, as a share of the start's, against the number of frames; lines from best to worst."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(f"{row['site']}, {row['labels']}, {row['draw']}", []).append(row)
    numbers = sorted({row["frames"] for row in rows})
    top = max([1.0, *(row["highest"] / row["start MAE"] for row in rows)])

    def place(frames: int, share: float) -> tuple[float, float]:
        # equal steps: the numbers grow about as their powers of two
        position = 0 if not frames else 1 + numbers.index(frames)
        return LEFT + WIDTH * position / max(len(numbers), 1), TOP + HEIGHT * (1 - share / top)

    body = f'<rect x="{LEFT}" y="{TOP}" width="{WIDTH}" height="{HEIGHT}" fill="none" stroke="#dddddd"/>'
    for number in [0, *numbers]:
        body += _text(place(number, 0)[0], TOP + HEIGHT + 18, str(number))
    for share in (0, 0.25, 0.5, 0.75, 1):
        body += _text(LEFT - 22, place(0, share)[1] + 4, f"{share:.0%}")
    body += _text(LEFT + WIDTH / 2, TOP + HEIGHT + 38, "labelled frames")
    body += _text(LEFT + WIDTH / 2, TOP - 12, "error on other images, relative to the start")
    for number, (colour, (name, own)) in enumerate(zip(COLOURS, groups.items(), strict=False)):
        points = [place(0, 1), *(place(row["frames"], row["MAE"] / row["start MAE"]) for row in own)]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        body += f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>'
        for row in own:
            (x, low), (_, high) = (place(row["frames"], row[key] / row["start MAE"]) for key in ("lowest", "highest"))
            body += f'<line x1="{x:.1f}" y1="{low:.1f}" x2="{x:.1f}" y2="{high:.1f}" stroke="{colour}"/>'
        body += f'<text x="{LEFT + WIDTH + 14}" y="{TOP + 16 + 22 * number}" fill="{colour}">{escape(name)}</text>'
    size = f'width="{LEFT + WIDTH + 260}" height="{TOP + HEIGHT + 50}"'
    return f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="13">{body}</svg>\n'


def _text(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="middle" fill="#1e1e1e">{escape(words)}</text>'


if __name__ == "__main__":
    sys.exit(main())
