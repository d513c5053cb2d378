"""Fit a counter to your camera with 5 to 50 labelled frames, in minutes on a processor.

    crowdcount adapt ebc/efficientnet_lite0_mixed --data my_frames/ --output my_counter
    crowdcount adapt RUN/checkpoints/best.ckpt --data hall.yaml --output hall
    crowdcount adapt my_counter --counts my_camera/counts.csv --output my_camera_counter
    crowdcount adapt my_counter --data marked/ --format labelme --label head --output square

The frames have points: a folder as `crowdcount train` reads it, an export of an annotation tool (--format), or a YAML
file with a section `data:`. Or their numbers of people alone: a CSV file with the columns image and count, names
relative to its folder; frames of one window, its third column, are held out together.

Levels are compared, from the cheapest: a factor on the count, the statistics of batch normalisation, the head, the last
blocks. Each learns from three quarters of the frames and counts in the rest, four times, so that every frame is held
out once. The cheapest level that is about as good as the best is taken, and learns from all frames. If none has a lower
error than the model as it is, the model stays as it is.

With --ignore, --image-scale or --long-side the model is adapted to counting so, and the release is to be used with the
same: it does not hold them. People under the mask are neither counted nor learned; the numbers of --counts are those
outside it.

Writes a release, as `crowdcount convert` does: model.safetensors, README.md and the intervals of its counts, calibrated
on the held-out frames. Label frames of different hours and days: where they are seconds apart, the held-out ones are
not new.
"""

import argparse
import logging
import shlex
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import crowdcount
from crowdcount.cli.calibrate import described
from crowdcount.cli.data_section import parse_words, read_data
from crowdcount.cli.parser import MODEL, add_camera, add_device, add_weights, make_parser, reports_errors
from crowdcount.cli.predictors import camera_words, for_camera
from crowdcount.cli.word_order import Values
from crowdcount.data.annotations.count_table import read_counts
from crowdcount.data.importers import FORMATS
from crowdcount.data.importers.export import read_export
from crowdcount.data.sample import Record
from crowdcount.data.sources.folder import Folder
from crowdcount.errors import InputError
from crowdcount.evaluation.calibration import CalibrationImage, Choices, check_windows, fit_intervals
from crowdcount.files import atomic_folder, check_new_folder
from crowdcount.inference.model import Model, ReferringModel
from crowdcount.inference.release import save_release
from crowdcount.predictor import find_device
from crowdcount.training.adapting import LEVELS, Adaptation, Frame, Plan, adapt, frames_of_files, frames_of_records
from crowdcount.weights.download import file_sha256
from crowdcount.zoo.config import find_config


@reports_errors("adapt")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    args, overrides = parse_words(_parser(), argv)
    _check(args, overrides)
    plan = Plan(tuple(args.level) or None, args.folds, args.steps, args.seed)
    model, (data, frames) = _load(args), _frames(args, overrides)
    found = adapt(model, frames, plan)  # whose true counts are those outside a mask
    found.model.origin = _origin(model, found, frames, plan, data)
    print(_table(found))
    intervals = _write(args, found, frames, data)
    print(f"{args.output}: {found.taken.level}, {LEVELS[found.taken.level]}\nIntervals {intervals}")
    camera = "".join(f" {word}" for word in map(shlex.quote, camera_words(args)))
    print(f"Count with it: crowdcount predict photo.jpg --model {args.output}{camera} --interval 0.9")
    if camera:
        print(f"The release does not hold{camera}: give it each time, or the intervals do not hold.")
    return 0


def _check(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Refuse what cannot be done before minutes of training.

    Raises:
        InputError: names the option.
    """
    check_new_folder(args.output)
    for option, value in {"format": args.format, "data.KEY": overrides}.items():
        if value and args.counts is not None:
            raise InputError(f"--{option}: a table of counts needs none; it is for --data")
    for option, value in {"images": args.images, "label": args.label}.items():
        if value and args.format is None:
            raise InputError(f"--{option}: is for the export of an annotation tool; name its --format")
    if args.format is not None and overrides:
        raise InputError(f"{overrides[0]}: is for a configuration, and --format for an export; leave one of them out")


def _load(args: argparse.Namespace) -> Model:
    """Return the model on its device.

    Raises:
        InputError: it is no density counter.
    """
    model = crowdcount.load_model(args.model, weights=args.weights)
    if not isinstance(model, Model):
        what = "counts what expressions name" if isinstance(model, ReferringModel) else "chooses among captions"
        raise InputError(
            f"{model.label}: {what}, and density counters are adapted here; take one (crowdcount.list_models() has "
            "them), or train this one further with crowdcount train"
        )
    model.network.to(find_device(args.device))
    return for_camera(model, args)


def _frames(args: argparse.Namespace, overrides: Sequence[str]) -> tuple[str, list[Frame]]:
    """Return the name of the data and its frames.

    Raises:
        InputError: they cannot be read.
    """
    if args.counts is not None:
        files = read_counts(args.counts)
        if any(each.window for each in files):
            check_windows([each.window for each in files])
        return args.counts.stem, frames_of_files(files)
    path: Path = args.data
    if args.format is not None:
        return path.stem, frames_of_records(read_export(args.format, path, args.images, args.label).records())
    if path.is_dir():
        folder = Folder(path)
        return folder.key, frames_of_records(_labelled(folder.records("train"), folder.records("val")))
    data = read_data(find_config(str(path)), overrides, getattr(args, "packages", ()))
    source = data.source
    return source.key, frames_of_records(_labelled(source.records("train"), source.records("val")))


def _labelled(train: Sequence[Record], val: Sequence[Record]) -> list[Record]:
    """Return all frames but those of a test split, which stay unseen."""
    return [*train, *val]


def _origin(model: Model, found: Adaptation, frames: Sequence[Frame], plan: Plan, data: str) -> dict[str, Any]:
    """Return the facts about the adapted weights: those of the start that still hold, and what was done."""
    assert model.file is not None, "a loaded model has a file"
    kept = ("trained_on", "code_license", "weights_license", "data_terms", "notes")
    held_out = {trial.level: {"mae": trial.mae, "bias": trial.bias} for trial in found.trials}
    adapted = {
        "from": model.origin.get("name") or Path(model.name).name,
        "sha256": file_sha256(model.file),
        "data": data,
        "protocol": model.protocol,
        "frames": len(frames),
        "labels": "counts alone" if frames[0].record.points is None else "points",
        "level": found.taken.level,
        "changed": LEVELS[found.taken.level],
        "parts": found.parts,
        "held_out": held_out,
        "steps": plan.steps,
        "seed": plan.seed,
        **({"earlier": model.origin["adapted"]} if "adapted" in model.origin else {}),
    }
    return {**{key: model.origin[key] for key in kept if key in model.origin}, "adapted": adapted}


def _table(found: Adaptation) -> str:
    """Return the held-out errors of the levels, and which one was taken and why."""
    frames, start = len(found.taken.true), found.trials[0]
    lines = [
        f"Errors of {frames} frames (mean count {found.taken.true.mean():.1f}), each counted while held out "
        f"({found.parts} parts):",
        f"{'level':12}{'MAE':>9}{'RMSE':>9}{'bias':>9}{'seconds':>9}  changes",
    ]
    for trial in found.trials:
        rmse = float((trial.errors**2).mean() ** 0.5)
        mark = "*" if trial is found.taken else " "
        lines.append(
            f"{mark} {trial.level:10}{trial.mae:9.2f}{rmse:9.2f}{trial.bias:+9.2f}{trial.seconds:9.1f}  "
            f"{LEVELS[trial.level]}"
        )
    if found.taken is start:
        lines.append("No level has a lower error than the start: the model stays as it is.")
    else:
        gain = 1 - found.taken.mae / start.mae
        lines.append(
            f"* taken: the cheapest level about as good as the best; its error is {gain:.0%} below the start's."
        )
    return "\n".join(lines)


def _write(args: argparse.Namespace, found: Adaptation, frames: Sequence[Frame], data: str) -> str:
    """Write the release with its intervals, completely or not at all, and return what the intervals are."""
    intervals = fit_intervals(found.model, _calibration(found, frames), _choices(args, found, data))
    with atomic_folder(args.output) as folder:
        save_release(replace(found.model, intervals=intervals), folder, args.name or args.output.resolve().name)
    return described(intervals)


def _calibration(found: Adaptation, frames: Sequence[Frame]) -> list[CalibrationImage]:
    """Return the counts of the held-out frames; frames of one window stay together."""
    trial = found.taken
    grouped = any(frame.group != frame.record.name for frame in frames)
    return [
        CalibrationImage(frame.record.name, true, count, variance, frame.group if grouped else "")
        for frame, true, count, variance in zip(
            frames, trial.true.tolist(), trial.counts.tolist(), trial.variances, strict=True
        )
    ]


def _choices(args: argparse.Namespace, found: Adaptation, data: str) -> Choices:
    """Return the choices about the intervals; those of a model that was chosen and trained here are approximate."""
    return Choices(
        f"{data}, held out in {found.parts} parts",
        args.about or f"frames like those of {data}",
        seed=args.seed,
        approximate=found.taken is not found.trials[0],
    )


def _parser() -> argparse.ArgumentParser:
    usage = "MODEL --data FRAMES | --counts FILE --output FOLDER [--data.KEY VALUE ...] [OPTIONS]"
    parser = make_parser(__doc__, "adapt", usage, allow_abbrev=False)
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add_weights(parser)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument(
        "--data", type=Path, metavar="FRAMES", help="folder of images with points, export, or YAML file with 'data:'"
    )
    source.add_argument("--counts", type=Path, metavar="FILE", help="CSV file with the columns image and count")
    add("--format", choices=FORMATS, metavar="FORMAT", help=f"--data is an export: {', '.join(FORMATS)}")
    add("--images", type=Path, metavar="FOLDER", help="images of an export (default: where it is)")
    add("--label", action=Values, default=[], metavar="LABEL", help="take shapes with this label; may be repeated")
    add("--output", type=Path, required=True, metavar="FOLDER", help="new folder for the release")
    add("--name", help="name of the model (default: the folder's)")
    add("--about", metavar="TEXT", help="kind of the frames, for those who read the intervals (default: their name)")
    add(
        "--level",
        action=Values,
        choices=[level for level in LEVELS if level != "start"],
        default=[],
        metavar="LEVEL",
        help=f"compare this level with the start; may be repeated (default: all of {', '.join(list(LEVELS)[1:])})",
    )
    add_camera(parser)
    add("--folds", type=int, default=Plan.folds, help="parts that are held out in turn (default: %(default)s)")
    add("--steps", type=int, default=Plan.steps, help="steps of a training of 8 crops (default: %(default)s)")
    add("--seed", type=int, default=Plan.seed, help="of parts and crops (default: %(default)s)")
    add_device(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
