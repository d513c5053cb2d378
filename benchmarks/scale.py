"""Counting in data sets: seconds of each stage, engines beside each other, memory over many images.

`--of stages` takes the CPU time of what happens to an image, one after the other: listing, reading (the disk itself is
not waited for), decoding, network, writing of its row. `--of engines` counts the same images with the local engine and
with one and more workers of Ray, each with one CPU; Ray's start and the loading of the models, until the first
partition is there, are a column of their own, and the speed is that of the images after it. `--of memory` counts images
of 32 x 32 pixels with the local engine and prints the resident memory as it goes.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import cv2

from benchmarks.child import opened
from benchmarks.peak import resident
from benchmarks.race import Commands, Row, positive
from benchmarks.tiles import scene
from crowdcount.batch import count_dataset
from crowdcount.batch.report import Progress
from crowdcount.images.read import Image, decode
from crowdcount.inference.model import Model
from crowdcount.predictor import DEFAULT_MODEL, Predictor

_TINY: Final = 32
_ORIGINALS: Final = 8
"""Images that are made; the others are links to them."""


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    scale = commands.add_parser("scale", parents=[shared], help="counting in data sets of any size")
    kinds = {"stages": _stages, "engines": _engines, "memory": _memory}
    scale.add_argument("--of", choices=kinds, default="stages", help="default: %(default)s")
    scale.add_argument("--model", default=DEFAULT_MODEL, help="default: %(default)s")
    scale.add_argument("--images", type=positive, default=64, help="number of images (default: %(default)s)")
    scale.add_argument("--width", type=positive, default=1920, help="of an image (default: %(default)s)")
    scale.add_argument("--height", type=positive, default=1080, help="of an image (default: %(default)s)")
    scale.add_argument("--workers", type=positive, default=2, help="most workers of Ray (default: %(default)s)")
    scale.add_argument("--partition", type=positive, default=4, help="images of a partition (default: %(default)s)")
    scale.set_defaults(run=lambda arguments: _run(kinds[arguments.of], arguments))


def _run(measure: Callable[[argparse.Namespace, Model, Path], list[Row]], arguments: argparse.Namespace) -> list[Row]:
    model, _ = opened(arguments.model, arguments.threads)
    with tempfile.TemporaryDirectory() as folder:
        return measure(arguments, model, Path(folder))


def write_images(folder: Path, number: int, width: int, height: int) -> list[Path]:
    """Write JPEG images of generated scenes; few are different, the others are links."""
    folder.mkdir()
    paths = [folder / f"{index:07}.jpg" for index in range(number)]
    for index, path in enumerate(paths):
        if index < _ORIGINALS:
            path.write_bytes(cv2.imencode(".jpg", scene(height, width)[..., ::-1])[1].tobytes())
        else:
            os.link(paths[index % _ORIGINALS], path)
    return paths


def _stages(arguments: argparse.Namespace, model: Model, folder: Path) -> list[Row]:
    from crowdcount.batch.items import find_items
    from crowdcount.batch.partitions import Partitions

    paths = write_images(folder / "in", arguments.images, arguments.width, arguments.height)
    predictor = Predictor(model, device="cpu")
    predictor.predict_batch([scene(arguments.height, arguments.width)])
    items, listing = _timed(lambda: find_items([folder / "in"], "image", str(folder / "out")).items)
    data, reading = _timed(lambda: [path.read_bytes() for path in paths])
    images: list[Image] = []
    decoding = counting = 0.0
    rows = []
    for item, each in zip(items, data, strict=True):
        images, seconds = _timed(partial(_decoded, each))
        decoding += seconds
        found, seconds = _timed(partial(predictor.predict_batch, images))
        counting += seconds
        rows.append({"image": item.name, "count": found[0].count})
    _, writing = _timed(lambda: Partitions(str(folder / "out")).write(rows))
    stages = {"list": listing, "read": reading, "decode": decoding, "count": counting, "write": writing}
    return [
        {
            "stage": name,
            "CPU ms per image": 1000 * seconds / len(paths),
            "share": f"{seconds / sum(stages.values()):.1%}",
        }
        for name, seconds in stages.items()
    ]


def _decoded(data: bytes) -> list[Image]:
    return [decode(data, "image")]


def _timed(function: Callable[[], Any]) -> tuple[Any, float]:
    start = time.process_time()  # that of one thread does not depend on the load of the machine
    result = function()
    return result, time.process_time() - start


class _Watch:
    """Moments of progress, and what the memory was then."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.moments: list[tuple[int, float, float]] = []
        self._images = 0

    def __call__(self, progress: Progress) -> None:
        self._images += progress.images
        self.moments.append((self._images, time.perf_counter() - self.start, resident("VmRSS") / 2**20))

    @property
    def speed(self) -> float:
        """Images a second after the first report."""
        (first, start, _), (last, end, _) = self.moments[0], self.moments[-1]
        return (last - first) / (end - start)


def _engines(arguments: argparse.Namespace, model: Model, folder: Path) -> list[Row]:
    write_images(folder / "in", arguments.images, arguments.width, arguments.height)
    rows: list[Row] = []
    for workers in (0, *range(1, arguments.workers + 1)):
        watch = _Watch()
        options: dict[str, Any] = {"engine": "ray", "workers": workers} if workers else {}
        count_dataset(
            folder / "in",
            folder / f"out{workers}",
            model,
            partition=arguments.partition,
            progress=watch,
            **options,
        )
        rows.append({"engine": f"ray, {workers} workers" if workers else "local", "images": arguments.images})
        rows[-1] |= {"to the first report (s)": watch.moments[0][1], "images/s": watch.speed}
        one = rows[min(len(rows) - 1, 1)]["images/s"]
        rows[-1] |= {"ms per image": 1000 / watch.speed, "efficiency": watch.speed / one / max(workers, 1)}
    return rows


def _memory(arguments: argparse.Namespace, model: Model, folder: Path) -> list[Row]:
    write_images(folder / "in", arguments.images, _TINY, _TINY)
    watch = _Watch()
    count_dataset(folder / "in", folder / "out", model, progress=watch)
    return list(_tenths(watch.moments))


def _tenths(moments: Sequence[tuple[int, float, float]]) -> Iterator[Row]:
    """Yield the moments after each tenth of the images."""
    for tenth in range(1, 11):
        images, seconds, memory = moments[len(moments) * tenth // 10 - 1]
        yield {"images": images, "seconds": seconds, "resident MiB": memory}
