"""Images per second and peak memory of the models of the zoo, with random weights if no others are present.

Each model runs in its own process, configured as in the zoo but without its size rule, and first counts a small image.
The memory is that of the first full-size image, above the loaded model.
"""

import argparse
import json
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, get_args

import torch
from tqdm import tqdm

from benchmarks.child import in_child, opened
from benchmarks.peak import Peak
from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.cli.word_order import Values
from crowdcount.images.read import Image
from crowdcount.models.base import DensityNetwork
from crowdcount.predictor import Precision, find_device
from crowdcount.zoo.config import list_models, network_class, read_config
from crowdcount.zoo.models import Model

_LONG = 5.0
"""Seconds above which a measurement is not repeated."""


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    predict = commands.add_parser("predict", parents=[shared], help="speed and memory of the models")
    predict.add_argument("--models", action=Values, metavar="NAME", help="default: one of each network of the zoo")
    predict.add_argument("--width", type=positive, default=1024, help="of the image (default %(default)s)")
    predict.add_argument("--height", type=positive, default=768, help="of the image (default %(default)s)")
    predict.add_argument("--precision", choices=get_args(Precision), default="float32", help="default %(default)s")
    predict.add_argument("--device", default="auto", help="default %(default)s")
    predict.set_defaults(run=predict_benchmark)


def predict_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Measure the models one after another."""
    options = vars(arguments) | {"run": None}
    names = tqdm(arguments.models or distinct_networks(), "models", leave=False, disable=None)
    return [in_child(_measured, name, options) for name in names]


def distinct_networks() -> list[str]:
    """Return the first configuration of each distinct density network, ignoring bins and pretrained weights."""
    found: dict[str, str] = {}
    for name in list_models():
        config = read_config(name)
        kind = network_class(config, name)
        if issubclass(kind, DensityNetwork):
            network = config["model"]["init_args"]["network"]
            shape = {k: v for k, v in network["init_args"].items() if k not in ("bins", "pretrained")}
            found.setdefault(json.dumps([kind.__name__, shape], sort_keys=True), name)
    return list(found.values())


def _measured(name: str, options: dict[str, Any]) -> Row:
    """Return the row of a model; runs in the child process."""
    model, _ = opened(name, options["threads"])
    device = find_device(options["device"])
    model.network.to(device)
    with _precision(options["precision"], device):
        # CPU time of one thread does not depend on the load of the machine
        clock = time.process_time if device.type == "cpu" and options["threads"] == 1 else time.perf_counter
        image = scene(options["height"], options["width"])
        seconds, peak = _timed(model, image, device, options["repeats"], clock)
    return {
        "model": name,
        "parameters (M)": sum(each.numel() for each in model.network.parameters()) / 1e6,
        "image": f"{options['width']} x {options['height']}",
        "in": "one pass" if model.inference.window is None else f"windows of {model.inference.window}",
        "images/s": 1 / seconds,
        "peak MiB above the model": peak,
        "channels_last": "yes" if _channels_last(model) else "no",
        "precision": options["precision"],
    }


def _timed(
    model: Model, image: Image, device: torch.device, repeats: int, clock: Callable[[], float]
) -> tuple[float, float]:
    """Return the best time of an image, including the transfer to the CPU, and the peak memory of the first."""
    model.predict(image[:256, :256])
    with Peak(device) as peak:
        best = _seconds(model, image, clock)
    if best < _LONG:
        best = min([best, *(_seconds(model, image, clock) for _ in range(repeats - 1))])
    return best, peak.mebibytes


def _seconds(model: Model, image: Image, clock: Callable[[], float]) -> float:
    start = clock()
    model.predict(image)
    return clock() - start


def _precision(precision: str, device: torch.device) -> AbstractContextManager[None]:
    """Return the autocast context of `crowdcount.predictor.Predictor`."""
    return torch.autocast(device.type, dtype=getattr(torch, precision), enabled=precision != "float32")


def _channels_last(model: Model) -> bool:
    """Return whether all convolution kernels have the memory format set by `load_model`."""
    kernels = [each for each in model.network.parameters() if each.ndim == 4]
    return all(each.is_contiguous(memory_format=torch.channels_last) for each in kernels)
