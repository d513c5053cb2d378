"""Objects that the options of a command ask for: a predictor, in torch or in the runtime of a file, and a camera."""

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from crowdcount.errors import InputError
from crowdcount.images.mask import IgnoreMask
from crowdcount.inference.base_predictor import BasePredictor
from crowdcount.runtimes.sessions import is_exported

if TYPE_CHECKING:  # counting with an exported model needs no torch
    from crowdcount.inference.model import CrowdModel

_Model = TypeVar("_Model", bound="CrowdModel")


def make_predictor(args: argparse.Namespace) -> BasePredictor:
    """Return the predictor; torch is imported for models that need it alone.

    Raises:
        InputError: the model cannot be had, or an option does not suit it.
    """
    if args.model is not None and is_exported(Path(args.model)):
        return _exported(args)
    from crowdcount.predictor import Predictor

    return Predictor(
        args.model,
        args.weights,
        args.device,
        args.precision,
        args.max_memory,
        args.long_side,
        value_range=args.range,
        intervals=args.intervals,
        image_scale=args.image_scale,
        ignore=args.ignore,
    )


def for_camera(model: _Model, args: argparse.Namespace) -> _Model:
    """Return a model with what `add_camera` reads: --ignore, --image-scale and --long-side.

    Raises:
        InputError: the mask cannot be read, or a number is out of its range.
    """
    mask = None if args.ignore is None else IgnoreMask.make(args.ignore)
    return model.for_camera(args.image_scale, args.long_side, mask)


def camera_words(args: argparse.Namespace) -> list[str]:
    """Return the words that tell another command the same about a camera, with all digits; none for defaults."""
    ignore = [] if args.ignore is None else ["--ignore", str(args.ignore)]
    scale = [] if args.image_scale == 1 else ["--image-scale", str(args.image_scale)]
    side = [] if args.long_side is None else ["--long-side", str(args.long_side)]
    return [*ignore, *scale, *side]


def _exported(args: argparse.Namespace) -> BasePredictor:
    from crowdcount.runtimes.predictor import RuntimePredictor

    if args.weights is not None:
        raise InputError(f"--weights: {args.model} holds its own; leave it out")
    if args.precision != "float32":
        raise InputError(f"--precision: {args.model} has the precision it was exported with; leave it out")
    return RuntimePredictor(
        args.model,
        device=args.device,
        max_memory=args.max_memory,
        long_side=args.long_side,
        value_range=args.range,
        intervals=args.intervals,
        image_scale=args.image_scale,
        ignore=args.ignore,
    )
