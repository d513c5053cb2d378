"""`crowdcount dataset choose`: frames that are worth labelling, with points to correct."""

import argparse
import logging
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from tqdm import tqdm

from crowdcount.checks import check_number
from crowdcount.cli.parser import MODEL, add_camera, add_device, add_weights
from crowdcount.cli.sources import find_sources
from crowdcount.cli.word_order import Values
from crowdcount.errors import InputError
from crowdcount.files import check_new_folder
from crowdcount.labelling import FORMATS

if TYPE_CHECKING:  # the command imports torch when it runs, which takes seconds
    from crowdcount.labelling.export import Row

_DESCRIPTION: Final = """\
Propose the frames of a camera that are most worth labelling: the one that the model is least sure of, then frames that
differ most from those before, uncertain ones first, none of them a near-duplicate of another. Writes a new folder with
the frames, without loss, points of the model to correct in LabelMe, CVAT or Label Studio, and frames.csv, which says of
every candidate why it was chosen or not. A larger --number begins with the same frames."""
_SHOWN: Final = 3


def add_choose(parser: argparse.ArgumentParser) -> None:
    """Add the options of the command to its parser."""
    parser.description = _DESCRIPTION
    add = parser.add_argument
    add("sources", nargs="+", metavar="FILE", help="images, videos, folders or patterns")
    add("--output", type=Path, required=True, metavar="FOLDER", help="new folder to write")
    add("--number", type=int, default=20, metavar="N", help="frames to choose, at most (default: %(default)s)")
    add("--every", type=int, default=25, metavar="N", help="look at every N-th frame of videos (default: %(default)s)")
    add(
        "--format",
        action=Values,
        choices=tuple(FORMATS),
        default=[],
        metavar="FORMAT",
        help=f"of the points: any of {', '.join(FORMATS)} (default: all)",
    )
    add("--label", default="head", help="label of the points (default: %(default)s)")
    add("--model", help=f"{MODEL} (default: the model in the package)")
    add_weights(parser)
    add_camera(parser)
    add_device(parser)
    parser.set_defaults(run=choose)


def choose(args: argparse.Namespace) -> int:
    """Run the command and return its exit status: 2 where a file could not be read.

    Raises:
        InputError: there is no frame, the folder has files, a number is below 1, or the model cannot be had.
    """
    import numpy as np

    from crowdcount.labelling.candidates import find_candidates, near_duplicates
    from crowdcount.labelling.export import describe, export
    from crowdcount.labelling.select import select
    from crowdcount.predictor import Predictor

    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    check_new_folder(args.output)
    check_number("--number", args.number, 1, hint="the frames to choose")
    check_number("--every", args.every, 1, hint="which looks at all frames")
    found = find_sources(args.sources)
    unread = [*found.missing]
    predictor = Predictor(
        args.model,
        args.weights,
        args.device,
        long_side=args.long_side,
        image_scale=args.image_scale,
        ignore=args.ignore,
    )
    counted = find_candidates(found.files, predictor, args.every, unread)
    candidates = list(tqdm(counted, desc="counting", unit="frame", file=sys.stderr, disable=None))
    if not candidates:
        raise InputError("; ".join(unread) or "no file was named: standard input is empty")
    with tqdm(total=min(args.number, len(candidates)), desc="choosing", file=sys.stderr, disable=None) as bar:
        selection = select(
            np.stack([each.features for each in candidates]),
            [each.uncertainty for each in candidates],
            args.number,
            lambda one, other: near_duplicates(candidates[one], candidates[other]),
            bar.update,
        )
    formats = args.format or list(FORMATS)
    rows = describe(candidates, selection)
    rows = export(args.output, rows, formats, args.label, predictor.model.name, args.every)
    left_out = [*found.left_out, *(f"{path}: a drawing of crowdcount" for path in found.drawings)]
    sys.stdout.write(_report(rows, [*left_out, *unread], args))
    return 2 if unread else 0


def _report(rows: Sequence["Row"], left_out: Sequence[str], args: argparse.Namespace) -> str:
    chosen = [row for row in rows if row.order]
    lines = [f"{row.order:3}  {row.candidate}: count {row.candidate.count:.1f}; {row.reason}" for row in chosen]
    lines += _left_out([row for row in rows if not row.order])
    lines += [f"left out: {line}" for line in left_out]
    if len(chosen) < args.number:
        lines.append(f"chosen:   {len(chosen)} of {args.number} asked for: there are no others that differ")
    return "".join(f"{line}\n" for line in [*lines, f"written:  {args.output}, of every candidate in its frames.csv"])


def _left_out(rows: Sequence["Row"]) -> list[str]:
    """Return a line for each reason that candidates were left out for."""
    kinds = {True: "near-duplicate of a chosen one", False: "adds less than the chosen ones"}
    named = [(row.reason.startswith("near-duplicate"), str(row.candidate)) for row in rows]
    numbers = Counter(kind for kind, _ in named)
    shown = {kind: [name for own, name in named if own == kind][:_SHOWN] for kind in numbers}
    return [
        f"left out: {number:,} x {kinds[kind]} ({', '.join(shown[kind])}{', ...' * (number > _SHOWN)})"
        for kind, number in numbers.items()
    ]
