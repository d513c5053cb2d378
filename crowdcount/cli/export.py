"""Write a model as a graph for other runtimes, and compare it there with torch.

    crowdcount export ebc/efficientnet_lite0_mixed --format onnx
    crowdcount export RUN/checkpoints/best.ckpt --format openvino --output counter.xml
    crowdcount export my_counter --format openvino --int8 --data RUN/config.yaml
    crowdcount export my_counter --format openvino --int8 --data photos/
    crowdcount export my_counter --format torch
    crowdcount predict photos/ --model counter.onnx

The graph takes any number of images of one size, whose sides are multiples of the size divisor; the file says in its
metadata how an image gets there and what the outputs mean. `crowdcount predict` counts with .onnx and .xml files
without torch. The file gets its name only if its outputs equal those of torch at five sizes, to rounding; until then an
earlier file of that name stays as it was.

--int8 quantises for OpenVINO with --images images of CONFIG (a YAML file with a section `data:`, or a name in the zoo)
or of a folder, of each a part of 512 x 512 pixels or a window. It prints what that changes: the error of the counts on
--split of CONFIG, which is not what it was quantised with, or the counts of images of the folder; and the speed.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import crowdcount
from crowdcount.cli.data_section import parse_words, read_data, split_records
from crowdcount.cli.parser import MODEL, add_unverified, add_weights, make_parser, reports_errors
from crowdcount.cli.signals import Terminated, terminable
from crowdcount.errors import InputError
from crowdcount.export.export import SUFFIXES, export_int8, export_model
from crowdcount.export.int8 import Sample, change_text, chosen, folder_samples, measure, record_samples
from crowdcount.export.parity import Parity, parity_table
from crowdcount.inference.model import CrowdModel
from crowdcount.zoo.config import find_config


@reports_errors("export")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    logging.basicConfig(level=logging.WARNING, format="%(name)s: %(message)s")
    args, overrides = parse_words(_parser(), argv)
    _check(args, overrides)
    samples = _samples(args, overrides) if args.int8 else None
    model = crowdcount.load_model(args.model, weights=args.weights, allow_unverified=args.allow_unverified)
    path = args.output or Path(_file_name(model, args))
    try:
        with terminable():  # so that what is half-written goes
            if samples is None:
                _print(path, export_model(model, path, args.format))
            else:
                _int8(model, path, *samples)
    except Terminated:
        return 143
    return 0


def _check(args: argparse.Namespace, overrides: Sequence[str]) -> None:
    """Check that the options suit each other.

    Raises:
        InputError: they do not.
    """
    if args.int8 and args.format != "openvino":
        raise InputError(f"--int8: is for --format openvino, not {args.format}")
    if args.int8 and args.data is None:
        raise InputError("--int8: needs images like those to be counted; give --data CONFIG or --data FOLDER")
    if not args.int8 and (args.data is not None or overrides):
        raise InputError("--data: is for --int8; leave it out")
    if args.images < 1:
        raise InputError(f"--images: {args.images} must be at least 1")


def _samples(args: argparse.Namespace, overrides: Sequence[str]) -> tuple[list[Sample], list[Sample]]:
    """Return the images to quantise with, and those to measure on."""
    folder = Path(args.data)
    if folder.is_dir():
        if overrides:
            raise InputError(f"{overrides[0]}: {folder} is a folder of images; such keys are for a configuration")
        return folder_samples(folder, args.images)
    data = read_data(find_config(args.data), overrides, getattr(args, "packages", ()))
    return chosen(record_samples(data.splits[0]), args.images), record_samples(split_records(data, args.split))


def _int8(model: CrowdModel, path: Path, made_with: Sequence[Sample], measured_on: Sequence[Sample]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain = Path(folder) / "float32.xml"
        results = export_int8(model, path, (each.read() for each in made_with), plain)
        print(f"quantised with {len(made_with)} images; the graph in float32 beside torch:")
        _print(path, results)
        before, after = (measure(file, measured_on, name) for file, name in ((plain, "float32"), (path, "int8")))
    print(change_text(before, after))


def _print(path: Path, results: Sequence[Parity]) -> None:
    size = sum(file.stat().st_size for file in {path, path.with_suffix(".bin")} if file.is_file())
    print(f"{parity_table(results)}\n{path}: {size / 1e6:.1f} MB")
    if path.suffix != ".pt2":
        print(f"Count with it, without torch: crowdcount predict photo.jpg --model {path}")


def _file_name(model: CrowdModel, args: argparse.Namespace) -> str:
    """Return the name of a file in the current folder after the model, or after the file it came from."""
    stem = Path(model.name).stem if Path(model.name).is_file() else model.label.replace("/", "_").replace(" ", "_")
    return f"{stem}{'_int8' if args.int8 else ''}{SUFFIXES[args.format]}"


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "export", "MODEL --format onnx | openvino | torch [OPTIONS]", allow_abbrev=False)
    add = parser.add_argument
    add("model", metavar="MODEL", help=MODEL)
    add_weights(parser)
    add("--format", choices=tuple(SUFFIXES), default="onnx", help="default: %(default)s")
    add("--output", type=Path, metavar="FILE", help="file to write (default: the name of the model, here)")
    add("--int8", action="store_true", help="quantise weights and activations; needs --data")
    add("--data", metavar="CONFIG|FOLDER", help="images to quantise with")
    add("--images", type=int, default=32, metavar="N", help="number of images to quantise with (default: %(default)s)")
    add("--split", choices=("val", "test"), default="val", help="part of CONFIG to measure on (default: %(default)s)")
    add_unverified(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
