"""Check a data set, choose frames to label, import annotations, download images, propose count bins.

    crowdcount dataset doctor ~/ShanghaiTech --dataset shanghaitech --part A
    crowdcount dataset doctor ~/NWPU --dataset nwpu --json report.json --fail-on warning
    crowdcount dataset choose ~/videos/*.mp4 --number 20 --output ~/marked
    crowdcount dataset import labelme ~/marked --label head
    crowdcount dataset import yolo ~/heads/labels --images ~/heads/images --output ~/crowd --link
    crowdcount dataset download ~/CountBench --table CountBench.json
    crowdcount dataset bins ~/crowd --dataset folder --reduction 8

`crowdcount dataset SUBCOMMAND --help` lists the options, also those of the data sets (`--part A`).
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from tqdm import tqdm

from crowdcount.cli.choose import add_choose
from crowdcount.cli.parser import Parser, make_parser, reports_errors
from crowdcount.cli.word_order import Values
from crowdcount.data.download_images import download_images
from crowdcount.data.importers import FORMATS
from crowdcount.data.importers.annotated import Choice
from crowdcount.data.importers.export import read_export
from crowdcount.data.importers.image_matching import AnnotatedImage, ImageFolder
from crowdcount.data.importers.write import write_beside, write_folder
from crowdcount.data.sources.captions import Captions
from crowdcount.doctor import LEVELS, DataSet, examine
from crowdcount.doctor.datasets import known, option_names
from crowdcount.errors import InputError
from crowdcount.files import atomic_write
from crowdcount.images.resize import Resize
from crowdcount.images.resize_presets import ResizePreset

_SHOWN = 5


@reports_errors("dataset")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 1 where the doctor found what --fail-on names."""
    parser = _parser()
    args, options = parser.parse_known_args(argv)
    if options and "dataset" not in args:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    args.options = options
    status: int = args.run(args)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "dataset")
    commands = parser.add_subparsers(required=True, metavar="SUBCOMMAND")
    # Without abbreviations, as the options of the data sets are not known to this parser.
    add = partial(commands.add_parser, allow_abbrev=False)
    _add_doctor(add("doctor", help="find what is missing, damaged, duplicated or differs from what was published"))
    add_choose(add("choose", help="propose the frames of a camera to label, with points to correct"))
    _add_import(add("import", help="read the export of an annotation tool"))
    _add_download(add("download", help="download the images of a table of captions"))
    _add_bins(add("bins", help="propose count bins and their mean counts for a data set"))
    return parser


def _add_dataset(parser: Parser) -> None:
    parser.pass_on = True
    parser.add_argument("root", type=Path, help="folder of the data set")
    parser.add_argument("--dataset", required=True, metavar="NAME", help=f"one of {', '.join(known())}")
    options = (
        f"{name} {' '.join(option_names(adapter))}" for name, adapter in known().items() if option_names(adapter)
    )
    parser.epilog = f"options of the data sets: {'; '.join(options)}"


def _add_doctor(parser: Parser) -> None:
    parser.description = (
        "Check a data set. An error makes training fail, a warning changes its numbers, a note is good to know.\n"
        "The exit status is 1 where something as bad as --fail-on was found, 2 for bad input."
    )
    _add_dataset(parser)
    add = parser.add_argument
    add("--json", type=Path, metavar="FILE", help="write the report as JSON as well")
    add(
        "--fail-on",
        choices=LEVELS,
        default="error",
        help="lowest level that makes the exit status 1 (default: %(default)s)",
    )
    add("--jobs", type=int, default=_cores(), help="processes (default: %(default)s)")
    parser.set_defaults(run=_doctor)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _doctor(args: argparse.Namespace) -> int:
    report = examine(DataSet.parse(args.dataset, args.root, args.options), args.jobs)
    sys.stdout.write(report.text().encode(errors="backslashreplace").decode())
    if args.json is not None:
        atomic_write(args.json, report.json())
    return 1 if report.fails(args.fail_on) else 0


def _add_bins(parser: Parser) -> None:
    parser.description = (
        "Count the people in blocks at every position of the images, choose the open bin, and print a fragment of a\n"
        "configuration: the bins, the mean count of each as its anchor, and how many blocks fall into each."
    )
    _add_dataset(parser)
    add = parser.add_argument
    add("--split", choices=("train", "val", "test"), default="train", help="images to count (default: %(default)s)")
    add("--reduction", type=int, default=8, help="side of a block in pixels (default: %(default)s)")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--truncation", type=int, help="lowest count of the open bin (default: chosen by --share)")
    how.add_argument(
        "--share",
        type=float,
        default=1e-3,
        help="part of the blocks with people that the open bin must have (default: %(default)s)",
    )
    how.add_argument(
        "--intervals", action=Values, type=_interval, metavar="BIN", help="the bins themselves, such as 0 1 2-3 4+"
    )
    size = parser.add_mutually_exclusive_group()
    size.add_argument(
        "--resize",
        nargs=3,
        type=int,
        metavar=("MIN", "MAX", "MULTIPLE"),
        help="bring images to a size first, as data.resize of CLIP-EBC's recipes does (448 4096 32)",
    )
    size.add_argument("--paper", metavar="RULE", help="the same by a rule of crowdcount.data.ResizePreset")
    add("--once-per-pixel", action="store_true", help="count a pixel once, for loss.once_per_pixel: true (published)")
    parser.set_defaults(run=_bins)


def _interval(text: str) -> str:
    """Check the form of a bin, so that a folder behind it is none."""
    if not re.fullmatch(r"\d+(-\d+|\+)?", text):
        raise argparse.ArgumentTypeError(f"{text!r} is no bin; write a number, 2-3 or 4+")
    return text


def _bins(args: argparse.Namespace) -> int:
    from crowdcount.doctor import count_bins  # it imports torch, which takes seconds

    data = DataSet.parse(args.dataset, args.root, args.options)
    records = data.source().records(args.split)
    if not records:
        raise InputError(f"--split: {data.key} in {data.root} has no split {args.split!r}")
    resize = Resize(*args.resize) if args.resize else ResizePreset(args.paper) if args.paper else None
    bar = tqdm(records, unit="image", disable=None)
    counts = count_bins.add_up(bar, args.reduction, resize, once_per_pixel=args.once_per_pixel)
    truncation = count_bins.truncation_for(counts, args.share) if args.truncation is None else args.truncation
    proposal = count_bins.propose(counts, args.intervals or count_bins.single_counts(truncation))
    what = f"{len(records):,} images of {data.key} ({args.split}), {counts.sum():,} blocks of {args.reduction} pixels"
    comments = "".join(f"# {line}\n" for line in [what, *proposal.table().splitlines()])
    sys.stdout.write(comments + proposal.yaml())
    return 0


def _add_download(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Download the images whose addresses a table of captions gives (crowdcount.data.Captions), such as\n"
        "CountBench.json, into the folder images beside it. What is there is kept. Images that cannot be had are\n"
        "named, and make the exit status 1; an evaluation leaves them out."
    )
    parser.add_argument("root", type=Path, help="folder of the table")
    parser.add_argument("--table", default="captions.json", help="the table (default: %(default)s)")
    parser.set_defaults(run=_download)


def _download(args: argparse.Namespace) -> int:
    source = Captions(args.root, args.table)
    failed = download_images(source)
    addresses = sum(bool(caption.url) for caption in source.captions)
    lines = [f"{name}: {reason}" for name, reason in failed.items()]
    lines.append(f"{addresses - len(failed)} of {addresses} images with an address are there, {len(failed)} missing")
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return int(bool(failed))


def _add_import(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Read points, and centres of boxes, from an export and write what crowdcount.data.Folder reads: points.json\n"
        "beside the images, or with --output a new folder with the images in it."
    )
    add = parser.add_argument
    add("format", choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    add("export", type=Path, help="the exported file, or the folder of files (labelme, yolo, voc, visdrone, mot)")
    add("--images", type=Path, help="folder of the images (default: where the export is)")
    add(
        "--label",
        action=Values,
        default=[],
        metavar="LABEL",
        help="take shapes with this label; may be repeated (default: all)",
    )
    add("--keypoint", metavar="NAME", help="of a category with several keypoints take this one (coco)")
    add("--output", type=Path, help="new folder to write, with --copy or --link")
    how = parser.add_mutually_exclusive_group()
    how.add_argument(
        "--copy", dest="transfer", action="store_const", const="copy", help="copy the images into --output"
    )
    how.add_argument("--link", dest="transfer", action="store_const", const="link", help="link them instead")
    add("--overwrite", action="store_true", help="replace a points.json that is there")
    parser.set_defaults(run=_import)


def _import(args: argparse.Namespace) -> int:
    if (args.output is None) != (args.transfer is None):
        raise InputError("--output gets the images, too: say whether by --copy or by --link")
    if args.keypoint is not None and args.format != "coco":
        raise InputError(f"--keypoint: {args.format} has no named keypoints; only coco has")
    export = read_export(args.format, args.export, args.images, args.label, args.keypoint)
    found, images, choice = export.found, export.images, export.choice
    if args.output is None:
        written = write_beside(found, images, args.overwrite)
    else:
        written = write_folder(found, images, args.output, args.transfer)
    lines = [_summary(found, choice), _left_out(found, images), *(f"check:    {text}\n" for text in export.doubts)]
    sys.stdout.write("".join(lines) + f"written: {written}\n")
    return 0


def _left_out(found: Sequence[AnnotatedImage], images: ImageFolder) -> str:
    """Return a line for each kind of file that does not become a part of the data set."""
    named = {each.path for each in found}
    kinds = {
        "image that the export does not name, or that has no label file": [
            path for path in images.files if path not in named
        ],
        "file in a format that is not read": images.unread,
    }
    shown = {kind: ", ".join(path.name for path in paths[:_SHOWN]) for kind, paths in kinds.items()}
    more = {kind: ", ..." * (len(paths) > _SHOWN) for kind, paths in kinds.items()}
    lines = [f"left out: {len(paths):,} x {kind} ({shown[kind]}{more[kind]})" for kind, paths in kinds.items() if paths]
    return "".join(f"{line}\n" for line in lines)


def _summary(found: Sequence[AnnotatedImage], choice: Choice) -> str:
    kinds = ", ".join(f"{number:,} {kind}s" for kind, number in choice.taken.items()) or "nothing"
    empty, outside = sum(not len(each.points) for each in found), sum(each.outside for each in found)
    lines = [f"images:   {len(found):,}, {empty:,} of them without people", f"heads:    {kinds}"]
    lines += [f"left out: {number:,} x {reason}" for reason, number in choice.left_out.most_common()]
    lines += [f"outside:  {outside:,} points lie outside their image (kept)"] * bool(outside)
    return "".join(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
