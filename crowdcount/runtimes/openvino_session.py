"""Files of OpenVINO (.xml with a .bin) in OpenVINO."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np

from crowdcount.errors import InputError
from crowdcount.runtimes.sessions import Array, first_line, out_of_memory, require

SECTION: Final = "crowdcount"
"""Section of the runtime info of a file that holds the metadata."""


class OpenVinoSession:
    """A graph in OpenVINO; see `Session`.

    Args:
        path: of the .xml file.
        device: "auto" or "cpu" for the CPU, or a name of OpenVINO such as GPU.
        threads: threads of the runtime, None leaves them to it.

    Raises:
        InputError: OpenVINO, the .bin file or the device is missing, or the file is damaged.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        require("openvino", "openvino")
        if not (weights := path.with_suffix(".bin")).is_file():
            raise InputError(f"{weights}: is missing; it holds the weights of {path.name}")
        core = _core()
        place = "CPU" if device in ("auto", "cpu") else device.upper()
        try:
            model = core.read_model(path, weights)
            self.metadata = read_metadata(model)
            self._compiled = core.compile_model(model, place, _settings(place, threads))
        except RuntimeError as error:
            if place.partition(".")[0] not in core.available_devices:
                known = ", ".join(core.available_devices)
                raise InputError(f"device: {device} is not available in OpenVINO, which has {known}") from error
            raise InputError(f"{path}: OpenVINO cannot read it ({first_line(error)}); export it again") from error
        self._path = path
        self._names = [output.get_any_name() for output in self._compiled.outputs]

    def run(self, images: Array) -> dict[str, Array]:
        """Return the outputs by name for an input (N, 3, H, W)."""
        try:
            found = self._compiled([images])
        except (RuntimeError, MemoryError) as error:
            if not out_of_memory(error):
                raise InputError(f"{self._path}: OpenVINO failed ({first_line(error)})") from error
            raise InputError("there is too little memory; set max_memory or long_side") from error
        # a copy: the next call writes into the same memory
        return {name: np.array(found[index], np.float32) for index, name in enumerate(self._names)}


@cache
def _core() -> Any:
    """Return the one core of this process, which is never closed.

    A core that loads the CPU's plugin gives the thread a stack for signals and takes it away when it is closed. Of two
    that are closed in the order in which they came, the second puts back the stack of the first, which is gone: the
    next signal, such as that of Ctrl-C, ends the process with a segmentation fault (OpenVINO 2026.4).
    """
    import openvino

    return openvino.Core()


def read_metadata(model: Any) -> Mapping[str, str]:
    """Return the texts that a model of OpenVINO stores."""
    info = model.get_rt_info()
    if SECTION not in info:
        return {}
    return {str(key): str(model.get_rt_info([SECTION, key]).astype(str)) for key in info[SECTION]}


def _settings(place: str, threads: int | None) -> dict[str, Any]:
    # on new CPUs OpenVINO would compute in bfloat16 of its own accord
    settings: dict[str, Any] = {"INFERENCE_PRECISION_HINT": "f32"}
    if threads is not None and place == "CPU":
        settings["INFERENCE_NUM_THREADS"] = threads
    return settings
