"""Files of OpenVINO, converted from ONNX."""

from pathlib import Path
from typing import Any

from crowdcount.errors import InputError
from crowdcount.export.quiet import quiet
from crowdcount.runtimes.description import Description
from crowdcount.runtimes.openvino_session import SECTION
from crowdcount.runtimes.sessions import first_line, require


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
    """Write an .xml file and a .bin beside it, with the description in the runtime info.

    Raises:
        InputError: they cannot be written.
    """
    import openvino

    for key, value in about.metadata().items():
        model.set_rt_info(value, [SECTION, key])
    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise InputError(f"{about.name}: OpenVINO cannot write its file ({first_line(error)})") from error
