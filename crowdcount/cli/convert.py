"""Turn a checkpoint, trained here or published, into one self-contained safetensors file with a model card.

    crowdcount convert RUN/checkpoints/best.ckpt --output my_counter
    crowdcount convert clip_ebc/rn50_sha.v1 --output rn50_sha
    crowdcount convert best_model.pth --model hmode/vgg16bn_sha_released --output hmode_sha

The folder gets model.safetensors, with configuration, preprocessing and origin of the weights in its metadata, and
README.md, a card for the Hugging Face hub. crowdcount.load_model("my_counter/model.safetensors") needs nothing else.
"""

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

import crowdcount
from crowdcount.cli.parser import MODEL, add_unverified, make_parser, reports_errors
from crowdcount.inference.release import save_release
from crowdcount.weights.checkpoint import read_metadata


@reports_errors("convert")
def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status."""
    args = _parser().parse_args(argv)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if args.model is None:
        model = crowdcount.load_model(args.source, allow_unverified=args.allow_unverified)
    else:
        model = crowdcount.load_model(args.model, weights=args.source, allow_unverified=args.allow_unverified)
    path = save_release(model, args.output, args.name, half=args.half)
    print(f"{path}: {read_metadata(path)['name']}, {path.stat().st_size / 1e6:.1f} MB")
    if model.intervals is not None and args.half:
        print("Its intervals are left out, as rounded weights count differently; make them again: crowdcount calibrate")
    print(f"Look at what it counts: crowdcount visualize photo.jpg --model {path}")
    print("Before you pass it on, read the terms in its README.md.")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = make_parser(__doc__, "convert", "SOURCE --output FOLDER [OPTIONS]")
    add = parser.add_argument
    add("source", metavar="SOURCE", help=f"{MODEL}; or a published file, with --model")
    add("--model", metavar="NAME", help="model of the zoo that a file without a configuration belongs to")
    add("--output", type=Path, required=True, metavar="FOLDER", help="where to write; holds no converted model yet")
    add("--name", help="name of the model (default: its name in the index, or the folder's)")
    add("--half", action="store_true", help="store the weights as float16: half the size, rounded")
    add_unverified(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
