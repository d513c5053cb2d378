"""The predictor that the options of a command ask for: in torch, or in the runtime of an exported model."""

import argparse
from pathlib import Path

from crowdcount.errors import InputError
from crowdcount.inference.base_predictor import BasePredictor
from crowdcount.runtimes.sessions import is_exported


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
