"""Calibrate the intervals of a model's counts on images with known numbers of people.

    crowdcount calibrate RUN/checkpoints/best.ckpt --data RUN/config.yaml --about "streets by day, 5 to 3000 people"
    crowdcount calibrate my_counter --counts my_camera/counts.csv --output my_camera/intervals.json
    crowdcount calibrate my_counter --data hall.yaml --zones zones.json

CONFIG is a YAML file with a section `data:`, as for `crowdcount evaluate`; --data.KEY VALUE overrides its keys. A CSV
file has the columns image and count, names relative to its folder; no points are needed. For frames of videos a third
column, window, names the window of a video that a frame belongs to: the mean over a window is calibrated then.

Writes best.intervals.json beside best.ckpt, or the file of --output for `crowdcount predict --intervals FILE`. Take
images that no training has seen: at least 19 for intervals of 95 %, 99 for 99 %. The intervals hold for images like
these, counted with the same size rule, scale and mask: with --ignore the numbers of --counts are those of the people
outside the mask. Nothing is guaranteed for images of another kind.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import numpy as np

import crowdcount
from crowdcount.cli.data_section import parse_words, read_data, split_records
from crowdcount.cli.parser import MODEL, add_camera, add_device, add_weights, add_zones, make_parser, reports_errors
from crowdcount.cli.predictors import for_camera
from crowdcount.cli.word_order import Values
from crowdcount.data.annotations.count_table import read_counts
from crowdcount.errors import InputError
from crowdcount.evaluation.calibration import (
    ENOUGH_TO_CHOOSE,
    CalibrationImage,
    Choices,
    count_files,
    count_records,
    fit_intervals,
)
from crowdcount.evaluation.index_record import data_name
from crowdcount.inference.model import Model
from crowdcount.intervals import SCALES, Calibration, Intervals, conformal_quantile, coverage_law
from crowdcount.intervals.file import intervals_file
from crowdcount.predictor import find_device
from crowdcount.zones import Zone, read_zones
from crowdcount.zoo.config import find_config

LEVELS: Final = (0.8, 0.9, 0.95, 0.99)
APPROXIMATE: Final = (
    "The level is approximate: the same images chose the model, and were counted by models that learned from a part of "
    "the others."
)
NOTE: Final = "Nothing is guaranteed for images of another kind."


@reports_errors("calibrate")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    args, overrides = parse_words(_parser(), argv)
    model = _load(args)
    path = args.output or _beside(model)
    zones = read_zones(args.zones)
    data, images = _images(args, model, overrides, zones)
    scale = next((scale for scale in SCALES if scale.form == args.scale), None)
    choices = Choices(data, args.about or data, scale, tuple(args.groups), args.seed)
    found = fit_intervals(model, images, choices, zones)
    found.save(path)
    print(f"{path}: {described(found)}")
    return 0


def _load(args: argparse.Namespace) -> Model:
    model = crowdcount.load_model(args.model, weights=args.weights).density_model()
    model.network.to(find_device(args.device))
    return for_camera(model, args)


def _beside(model: Model) -> Path:
    """Return the file of the intervals beside the weights.

    Raises:
        InputError: the weights belong to the installed package.
    """
    assert model.file is not None, "a loaded model has a file"
    if model.file.is_relative_to(Path(crowdcount.__file__).parent):
        raise InputError(
            f"--output: the weights of {model.name} belong to the package; name a file here and for --intervals"
        )
    return intervals_file(model.file)


def _images(
    args: argparse.Namespace, model: Model, overrides: Sequence[str], zones: Sequence[Zone]
) -> tuple[str, list[CalibrationImage]]:
    """Return the name of the images, and their counts."""
    if args.counts is not None:
        if zones or overrides:
            raise InputError("--counts: a table has no points; --zones and --data.KEY are for --data")
        return args.counts.stem, count_files(model, read_counts(args.counts))
    data = read_data(find_config(args.data), overrides, getattr(args, "packages", ()))
    return data_name(data.source, args.split), count_records(model, split_records(data, args.split), zones)


def described(found: Intervals) -> str:
    """Return what was calibrated, for a terminal."""
    titles = {"image": "images", "zones": "images with zones", "window": f"windows of {found.frames} frames"}
    lines = [f"calibrated on {found.data}"]
    if found.choosing:
        lines.append(f"{found.choosing} images chose the scale, the others calibrate")
    for key, title in titles.items():
        part: Calibration | None = getattr(found, key)
        if part is not None:
            lines += [f"{part.images} {title}, scale {part.scale.form}", *_levels(part)]
            if part.approximate:
                lines.append(APPROXIMATE)
    lines += [f"They hold for images like these: {found.about}.", NOTE]
    return "\n".join(lines)


def _levels(part: Calibration) -> list[str]:
    """Return a line for each level and group: the factor of the scale, and the coverage to expect."""
    lines = []
    for number, scores in enumerate(part.scores):
        group = "" if not part.edges else f" group {number + 1} ({len(scores)} images):"
        for level in LEVELS:
            low, high = coverage_law(len(scores), level)
            factor = conformal_quantile(np.sort(np.abs(scores)), level)
            words = f"predicted -+ {factor:.3g} x scale; coverage in the long run {low:.3f} to {high:.3f}"
            lines.append(f" {group} {level:.0%}  {words if low < 1 else 'too few images'}")
    return lines


def _parser() -> argparse.ArgumentParser:
    usage = "MODEL --data CONFIG | --counts FILE [--data.KEY VALUE ...] [OPTIONS]"
    parser = make_parser(__doc__, "calibrate", usage, allow_abbrev=False)
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add_weights(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--data", metavar="CONFIG", help="YAML file with a section 'data:', or a name in the zoo")
    source.add_argument("--counts", type=Path, metavar="FILE", help="CSV file with the columns image and count")
    add("--split", choices=("val", "test"), default="val", help="part of the data set (default: %(default)s)")
    add("--about", metavar="TEXT", help="kind of the images, for those who read the file (default: their name)")
    add(
        "--scale",
        choices=[scale.form for scale in SCALES],
        help=f"expected size of an error (default: variance where the network predicts it, else count; from "
        f"{ENOUGH_TO_CHOOSE} images on a quarter of them chooses)",
    )
    add(
        "--groups",
        type=float,
        action=Values,
        default=[],
        metavar="COUNT",
        help="predicted counts at which groups with intervals of their own begin (default: one group)",
    )
    add_zones(parser, "calibrate these zones as well, with points")
    add_camera(parser)
    add("--output", type=Path, metavar="FILE", help="file to write (default: beside the weights)")
    add("--seed", type=int, default=0, help="of the draw of the images that choose (default: %(default)s)")
    add_device(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
