"""One model in torch, onnxruntime and OpenVINO: images per second and peak memory, each in its own process.

The model is exported once, to a folder that is used again if it is named. Speed is that of whole predictions, from
pixels to the count, without reading the file; with one thread it is counted in CPU time. Ratio and difference are
those to the first runtime of the table. The memory above the model is that of the first image at full size, that of
the process includes the libraries.
"""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import PIL.Image
from tqdm import tqdm

from benchmarks.child import in_child
from benchmarks.race import Commands, Row, positive
from benchmarks.runtime_child import PRECISIONS, Measurement, measured
from benchmarks.tiles import scene
from crowdcount.cli.word_order import Values
from crowdcount.errors import InputError
from crowdcount.export.export import export_int8, export_model
from crowdcount.images.read import Image, image_files, read_image
from crowdcount.predictor import DEFAULT_MODEL
from crowdcount.zoo.models import load_model

EXPORTED = {"onnxruntime": "model.onnx", "OpenVINO float32": "model.xml", "OpenVINO int8": "int8.xml"}
RUNTIMES = (*PRECISIONS, *EXPORTED)


def add_command(commands: Commands, shared: argparse.ArgumentParser) -> None:
    """Add the command and its options."""
    runtimes = commands.add_parser("runtimes", parents=[shared], help="one model in torch and where it is exported to")
    runtimes.add_argument("--model", default=DEFAULT_MODEL, help="name or file (default %(default)s)")
    runtimes.add_argument("--runtimes", action=Values, choices=RUNTIMES, default=list(RUNTIMES), help="default: all")
    runtimes.add_argument("--image", type=Path, help="the image (default: a generated one)")
    runtimes.add_argument("--width", type=positive, default=1024, help="of a generated image (default %(default)s)")
    runtimes.add_argument("--height", type=positive, default=768, help="of a generated image (default %(default)s)")
    runtimes.add_argument(
        "--calibration", type=Path, metavar="FOLDER", help="images for int8 (default: generated ones)"
    )
    runtimes.add_argument("--exports", type=Path, metavar="FOLDER", help="where exported files are kept and looked for")
    runtimes.set_defaults(run=runtimes_benchmark)


def runtimes_benchmark(arguments: argparse.Namespace) -> list[Row]:
    """Export the model as far as needed, and measure one runtime after the other."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.exports or Path(temporary)
        files = {name: folder / EXPORTED[name] for name in arguments.runtimes if name in EXPORTED}
        _export(arguments, files)
        image = arguments.image or Path(temporary) / "image.png"
        if arguments.image is None:
            PIL.Image.fromarray(scene(arguments.height, arguments.width)).save(image)
        options = {"threads": arguments.threads, "repeats": arguments.repeats, "files": files}
        names = tqdm(arguments.runtimes, "runtimes", leave=False, disable=None)
        return compared([in_child(measured, arguments.model, name, image, options) for name in names])


def compared(rows: Sequence[Measurement]) -> list[Row]:
    """Return the rows of the table: each runtime beside the first that ran."""
    first = next((row for row in rows if row.count is not None and row.rate is not None), None)
    return [
        {
            "runtime": row.runtime,
            "images/s": row.rate,
            "ratio": None if first is None or row.rate is None or first.rate is None else row.rate / first.rate,
            "count": None if row.count is None else f"{row.count:.3f}",
            "difference": None if first is None or row.count is None else f"{row.count - (first.count or 0):+.3f}",
            "peak MiB above the model": row.peak,
            "peak MiB of the process": row.whole,
            "seconds until ready": row.ready,
            "remark": row.remark,
        }
        for row in rows
    ]


def _export(arguments: argparse.Namespace, files: dict[str, Path]) -> None:
    missing = {name: path for name, path in files.items() if not path.is_file()}
    if not missing:
        return
    model = load_model(arguments.model)
    for name in tqdm(missing, "exports", leave=False, disable=None):
        if name == "OpenVINO int8":
            export_int8(model, missing[name], _calibration(arguments))
        else:
            export_model(model, missing[name], "onnx" if name == "onnxruntime" else "openvino")


def _calibration(arguments: argparse.Namespace) -> Sequence[Image]:
    if arguments.calibration is None:
        return [scene(384, 512, seed) for seed in range(1, 9)]
    files = image_files(arguments.calibration)
    if not files:
        raise InputError(f"--calibration: {arguments.calibration} holds no images")
    return [read_image(files[index]) for index in np.linspace(0, len(files) - 1, min(32, len(files))).astype(int)]
