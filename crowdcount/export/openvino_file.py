"""Files of OpenVINO, converted from ONNX, in float32 or quantised to int8."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from crowdcount.export.quiet import quiet
from crowdcount.images.read import Image
from crowdcount.images.resize import sized_image
from crowdcount.inference.parts import predict_in_parts
from crowdcount.runtimes.description import Description
from crowdcount.runtimes.openvino_session import SECTION
from crowdcount.runtimes.predictor import SessionRunner
from crowdcount.runtimes.sessions import Array, require


def convert_onnx(onnx_file: Path) -> Any:
    """Return the model of OpenVINO for an ONNX file.

    Raises:
        InputError: OpenVINO is not installed.
    """
    require("openvino", "openvino")
    import openvino

    with quiet():
        return openvino.convert_model(str(onnx_file))


def save_openvino(model: Any, path: Path, about: Description) -> None:
    """Write an .xml file and a .bin beside it, with the description in the runtime info."""
    import openvino

    for key, value in about.metadata().items():
        model.set_rt_info(value, [SECTION, key])
    openvino.save_model(model, path, compress_to_fp16=False)


def quantize(model: Any, about: Description, images: Sequence[Image]) -> tuple[Any, Description]:
    """Quantise weights and activations of a model to int8 with nncf.

    Args:
        model: of `convert_onnx`.
        about: its description.
        images: (H, W, 3) uint8 RGB, whose activations decide about the ranges.

    Returns:
        The quantised model and its description.

    Raises:
        InputError: nncf is not installed.
    """
    require("nncf", "openvino")
    import nncf

    inputs = nncf.Dataset(NetworkInputs(about, images))
    with quiet():
        quantised = nncf.quantize(model, inputs, preset=nncf.QuantizationPreset.MIXED)
    return quantised, replace(about, precision="int8")


@dataclass(frozen=True)
class NetworkInputs:
    """What a model is run on for images: the whole ones, or their windows, sized and normalised.

    Attributes:
        about: description of the model.
        images: (H, W, 3) uint8 RGB.
    """

    about: Description
    images: Sequence[Image]

    def __iter__(self) -> Iterator[Array]:
        """Yield inputs (1, 3, H, W), those of one image after the other."""
        for image in self.images:
            recorder = _Recorder(self.about)
            predict_in_parts(SessionRunner(recorder, self.about, sized_image(image, self.about.size_rule)), self.about)
            yield from recorder.inputs


class _Recorder:
    """A session that keeps its inputs and finds nobody."""

    def __init__(self, about: Description) -> None:
        self.about, self.inputs = about, list[Array]()
        self.metadata = about.metadata()

    def run(self, image: Array) -> dict[str, Array]:
        self.inputs.append(image)
        height, width = (side // self.about.stride for side in image.shape[-2:])
        return {name: np.zeros((1, 1, height, width), np.float32) for name in self.about.outputs}
