"""Quantisation of weights and activations to int8 with nncf, in a process of its own.

NNCF 3.4 opens cores of OpenVINO of its own. Where it had run, the next signal, such as that of Ctrl-C, was seen to end
the process with a crash; see `crowdcount.runtimes.openvino_session`.
"""

import json
import logging
import os
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

import numpy as np

from crowdcount.errors import InputError
from crowdcount.export.openvino_file import convert_onnx, save_openvino
from crowdcount.images.read import Image
from crowdcount.images.resize import sized_image
from crowdcount.inference.parts import Part
from crowdcount.runtimes.description import Description
from crowdcount.runtimes.predictor import normalized
from crowdcount.runtimes.sessions import Array, require

if TYPE_CHECKING:
    import openvino

SIDE: Final = 512
"""Largest side in pixels of what is run of an image, for networks without windows."""

# layers with weights; MatMul also has none, in attention
_LAYERS: Final = ("Convolution", "GroupConvolution", "ConvolutionBackpropData", "MatMul")
_JOB: Final = "job.json"
_REASON: Final = "reason.txt"
_PACKAGE: Final = Path(__file__).parents[2]


def quantize(onnx_file: Path, path: Path, about: Description, images: Iterable[Image]) -> None:
    """Write the .xml file, with its .bin, of a graph whose weights and activations are of int8.

    Args:
        onnx_file: the graph in float32.
        path: file to write.
        about: description of the graph in float32.
        images: (H, W, 3) uint8 RGB, whose activations decide about the ranges; one part of each is run.

    Raises:
        InputError: nncf is not installed or fails, or there is too little memory.
    """
    require("nncf", "openvino")
    with TemporaryDirectory(dir=path.parent) as folder:
        job = Path(folder)
        for number, image in enumerate(images):
            np.save(job / f"{number:06}.npy", image)
        content = {"onnx": str(onnx_file), "path": str(path), "metadata": about.metadata()}
        (job / _JOB).write_text(json.dumps(content), encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-P", "-m", "crowdcount.export.quantization", folder],
            stdout=2,  # progress is no output
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(_PACKAGE), os.environ.get("PYTHONPATH", "")])},
            check=False,
        )
        if done.returncode:
            raise InputError(f"{about.name}: cannot be quantised ({_reason(job, done.returncode)})")


@dataclass(frozen=True)
class NetworkInputs:
    """Inputs of a network for images: of each a part, drawn with a fixed seed, sized and normalised.

    A part is a window of the model, or `SIDE` pixels square, or the whole of a smaller image: ranges of activations
    are those of whole images, in a fraction of the time and memory.

    Attributes:
        about: description of the model.
        images: (H, W, 3) uint8 RGB.
    """

    about: Description
    images: Sequence[Image]

    def __iter__(self) -> Iterator[Array]:
        """Yield inputs (1, 3, H, W), the same each time."""
        rng = np.random.default_rng(0)
        for image in self.images:
            sized = sized_image(image, self.about.size_rule)
            yield normalized(sized, self.about, self._part(sized, rng))

    def _part(self, image: Image, rng: np.random.Generator) -> Part:
        divisor, window = self.about.size_divisor, self.about.window
        largest = window or -(-SIDE // divisor) * divisor
        top, left = (int(rng.integers(max(side - largest, 0) + 1)) for side in image.shape[:2])
        height, width = (window or min(-(-side // divisor) * divisor, largest) for side in image.shape[:2])
        return Part(top, left, height, width)


def run_job(folder: Path) -> None:
    """Quantise as a folder says."""
    import nncf

    nncf.set_log_level(logging.WARNING)  # it names every operation that stays in float32
    job = json.loads((folder / _JOB).read_text(encoding="utf-8"))
    about = Description.from_metadata(job["metadata"], job["path"])
    images = [np.load(file, mmap_mode="r") for file in sorted(folder.glob("*.npy"))]
    graph = convert_onnx(Path(job["onnx"]))
    model = nncf.quantize(
        graph,
        nncf.Dataset(NetworkInputs(about, images)),
        preset=nncf.QuantizationPreset.MIXED,
        subset_size=len(images),
        ignored_scope=nncf.IgnoredScope(names=counting_operations(graph)),
    )
    # its counts are others than those that were calibrated
    save_openvino(model, Path(job["path"]), replace(about, precision="int8", source_sha256="", intervals=None))


def counting_operations(graph: "openvino.Model") -> list[str]:
    """Return the names of the operations after the last layers with weights, which make counts of class scores.

    Rounded to 1/255 of the largest density, the small densities of most blocks would be lost.
    """
    names: set[str] = set()
    waiting = [result.input_value(0).get_node() for result in graph.get_results()]
    while waiting:
        node = waiting.pop()
        name, kind = node.get_friendly_name(), node.get_type_name()
        if name in names or kind in _LAYERS or kind in ("Parameter", "Constant"):
            continue
        names.add(name)
        waiting += [value.get_node() for value in node.input_values()]
    return sorted(names)


def _reason(folder: Path, status: int) -> str:
    file = folder / _REASON
    if file.is_file():
        return file.read_text(encoding="utf-8")
    return f"its process ended with status {status}, most likely because the memory ran out; give fewer images"


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # end at once, without a word: the parent has heard it too
    try:
        run_job(Path(sys.argv[1]))
    except Exception as error:  # of nncf, of any kind
        (Path(sys.argv[1]) / _REASON).write_text((str(error) or repr(error)).splitlines()[0], encoding="utf-8")
        sys.exit(1)
