"""Table of a default model: crowds, images without people, close heads, scaled images, doubts, and speed.

Counts are those of `crowdcount.load_model(...).predict`, as a user gets them. No training of the zoo has seen the
images: the test images of ShanghaiTech A, a folder of images without people, and the part of a folder of close heads
that `zoo_configs/ebc/efficientnet_lite0_mixed.yaml` holds out.
"""

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

import crowdcount
from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.data import Folder, HoldOut, Record, ShanghaiTech
from crowdcount.images.read import Image
from crowdcount.images.resize import cv_resized
from crowdcount.inference.prediction import DOUBTFUL
from crowdcount.metrics import count_errors
from crowdcount.metrics.macro import FLOOR
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.zoo.models import Model

SCALES = (0.5, 1.5, 2.0)
HEADS_VAL, HEADS_TEST = 0.15, 0.25
"""Fractions of the folder of heads that the recipe of the packaged model holds out."""


@dataclass(frozen=True)
class Counted:
    """The annotated and the predicted count of an image, and `Prediction.doubt`."""

    true: int
    count: float
    doubt: float | None


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
    seen: list[Counted] = []
    if arguments.nobody is not None:
        nobody = _counted(model, Folder(arguments.nobody, empty=True).records("train"), "nobody")
        rows, seen = rows + _nobody(nobody), seen + nobody
    if arguments.heads is not None:
        records = HoldOut(Folder(arguments.heads), HEADS_VAL, HEADS_TEST).records("test")
        heads = _counted(model, records, "near heads")
        rows, seen = rows + _errors(heads, "near heads"), seen + heads
    if arguments.shanghaitech is not None:
        records = ShanghaiTech(arguments.shanghaitech, "A").records("test")
        crowds = _counted(model, records, "ShanghaiTech A")
        rows, seen = rows + _errors(crowds, "ShanghaiTech A"), seen + crowds
        every = arguments.scaled_every
        rows += _scaled(model, records[::every], count_errors(*_pairs(crowds[::every]))["mae"])
    return rows + _doubts(seen, "all")


def _speed(model: Model, repeats: int) -> Row:
    image = scene(768, 1024)
    best = float("inf")
    for _ in range(repeats + 1):  # the first one is a warm-up
        start = time.perf_counter()
        model.predict(image)
        best = min(best, time.perf_counter() - start)
    return _row("1024 x 768", "images/s", 1 / best)


def _nobody(found: Sequence[Counted]) -> list[Row]:
    counts, _ = _pairs(found)
    values = {"median": np.median(counts), "90 %": np.quantile(counts, 0.9), "worst": np.max(counts)}
    return [_row(f"nobody ({len(found)})", name, float(value)) for name, value in values.items()]


def _errors(found: Sequence[Counted], data: str) -> list[Row]:
    errors = count_errors(*_pairs(found))
    return [_row(f"{data} ({len(found)})", name, errors[name]) for name in ("mae", "nae")]


def _scaled(model: Model, records: Sequence[Record], plain: float) -> list[Row]:
    """Return the MAE of scaled images, relative to that of the images as they are, and their doubts."""
    rows = []
    for scale in SCALES:
        found = _counted(model, records, f"scale {scale:g}", scale)
        ratio = count_errors(*_pairs(found))["mae"] / plain
        rows.append(_row(f"scaled by {scale:g} ({len(records)})", "mae / mae at 1", ratio))
        rows += _doubts(found, f"scaled by {scale:g}")
    return rows


def _doubts(found: Sequence[Counted], data: str) -> list[Row]:
    return [_row(f"{data} ({len(found)})", name, value) for name, value in doubts(found).items()] if found else []


def doubts(found: Sequence[Counted]) -> dict[str, int]:
    """Return how often a count is doubted, and how often that is right: off by more than half of max(true, 10)."""
    wrong = [abs(each.count - each.true) > max(each.true, FLOOR) / 2 for each in found]
    doubted = [each.doubt is not None and each.doubt > DOUBTFUL for each in found]
    both = sum(first and second for first, second in zip(wrong, doubted, strict=True))
    return {"off by half": sum(wrong), "doubted": sum(doubted), "doubted and off by half": both}


def _pairs(found: Sequence[Counted]) -> tuple[list[float], list[int]]:
    return [each.count for each in found], [each.true for each in found]


def _counted(model: Model, records: Sequence[Record], what: str, scale: float = 1) -> list[Counted]:
    found = []
    for record in tqdm(records, what, leave=False, disable=None):
        prediction = model.predict(scaled(record.read(), scale))
        found.append(Counted(record.count, prediction.count, prediction.doubt))
    return found


def scaled(image: Image, scale: float) -> Image:
    """Scale an image (H, W, 3) by a factor: area averages below 1, bicubic above."""
    if scale == 1:
        return image
    height, width = image.shape[:2]
    size = max(1, round(width * scale)), max(1, round(height * scale))
    return cv_resized(image, size, "area" if scale < 1 else "cubic")


def _row(data: str, measure: str, value: float) -> Row:
    return {"images": data, "measure": measure, "value": value}
