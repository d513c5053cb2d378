"""Table of a default model: crowds, images without people, close heads, scaled images, and speed.

Counts are those of `crowdcount.load_model(...).predict`, as a user gets them. No training of the zoo has seen the
images: the test images of ShanghaiTech A, a folder of images without people, and the part of a folder of close heads
that `zoo_configs/ebc/efficientnet_lite0_mixed.yaml` holds out.
"""

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

import crowdcount
from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.data import Folder, HoldOut, Record, ShanghaiTech
from crowdcount.images.read import Image
from crowdcount.images.resize import cv_resized
from crowdcount.metrics import count_errors
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.zoo.models import Model

SCALES = (0.5, 1.5, 2.0)
HEADS_VAL, HEADS_TEST = 0.15, 0.25
"""Fractions of the folder of heads that the recipe of the packaged model holds out."""


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    table = commands.add_parser("default_model", parents=[shared], help="the table of docs/default_model.md")
    table.add_argument("--model", default=DEFAULT_MODEL, help="name or file (default %(default)s)")
    table.add_argument("--shanghaitech", type=Path, metavar="DIR", help="folder with part_A or part_A_final")
    table.add_argument("--scaled-every", type=positive, default=1, metavar="N", help="scale every N-th test image only")
    table.add_argument("--nobody", type=Path, metavar="DIR", help="folder of images without people")
    table.add_argument("--heads", type=Path, metavar="DIR", help="folder of images of close heads, with points")
    table.set_defaults(run=default_model_benchmark)


def default_model_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Return the rows of the measures whose folders are given, and the speed.

    Raises:
        InputError: the model has no density, or a folder is invalid.
    """
    model = crowdcount.load_model(arguments.model).density_model()
    rows = [_speed(model, arguments.repeats)]
    if arguments.nobody is not None:
        rows += _nobody(model, Folder(arguments.nobody, empty=True).records("train"))
    if arguments.heads is not None:
        rows += _errors(model, HoldOut(Folder(arguments.heads), HEADS_VAL, HEADS_TEST).records("test"), "near heads")
    if arguments.shanghaitech is not None:
        rows += _crowds(model, ShanghaiTech(arguments.shanghaitech, "A").records("test"), arguments.scaled_every)
    return rows


def _speed(model: Model, repeats: int) -> Row:
    image = scene(768, 1024)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one is a warm-up
        start = time.perf_counter()
        model.predict(image)
        best = min(best, time.perf_counter() - start)
    return _row("1024 x 768", "images/s", 1 / best)


def _nobody(model: Model, records: Sequence[Record]) -> list[Row]:
    counts = _counts(model, records, 1.0, "nobody")
    values = {"median": np.median(counts), "90 %": np.quantile(counts, 0.9), "worst": np.max(counts)}
    return [_row(f"nobody ({len(records)})", name, float(value)) for name, value in values.items()]


def _errors(model: Model, records: Sequence[Record], data: str) -> list[Row]:
    found = count_errors(_counts(model, records, 1.0, data), _true(records))
    return [_row(f"{data} ({len(records)})", name, found[name]) for name in ("mae", "nae")]


def _crowds(model: Model, records: Sequence[Record], every: int) -> list[Row]:
    """Return the errors of all images, and the relative MAE of every n-th image when scaled."""
    counts = _counts(model, records, 1.0, "ShanghaiTech A")
    found = count_errors(counts, _true(records))
    rows = [_row(f"ShanghaiTech A ({len(records)})", name, found[name]) for name in ("mae", "nae")]
    some = records[::every]
    plain = count_errors(counts[::every], _true(some))["mae"]
    for scale in SCALES:
        errors = count_errors(_counts(model, some, scale, f"scale {scale:g}"), _true(some))
        rows.append(_row(f"scaled by {scale:g} ({len(some)})", "mae / mae at 1", errors["mae"] / plain))
    return rows


def _true(records: Sequence[Record]) -> list[int]:
    return [record.count for record in records]


def _counts(model: Model, records: Sequence[Record], scale: float, what: str) -> list[float]:
    shown = tqdm(records, what, leave=False, disable=None)
    return [model.predict(scaled(record.read(), scale)).count for record in shown]


def scaled(image: Image, scale: float) -> Image:
    """Scale an image (H, W, 3) by a factor: area averages below 1, bicubic above."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv_resized(image, size, "area" if scale < 1 else "cubic")


def _row(data: str, measure: str, value: float) -> Row:
    return {"images": data, "measure": measure, "value": value}
