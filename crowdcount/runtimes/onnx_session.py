"""ONNX files in onnxruntime."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowdcount.errors import InputError
from crowdcount.runtimes.description import INPUT
from crowdcount.runtimes.sessions import Array, first_line, out_of_memory, require


class OnnxSession:
    """A graph in onnxruntime; see `Session`.

    Args:
        path: of the .onnx file.
        device: "auto", "cpu", or "cuda" with a number for onnxruntime-gpu.
        threads: threads of the runtime, None leaves them to it.

    Raises:
        InputError: onnxruntime or the device is missing, or the file is damaged.
    """

    def __init__(self, path: Path, device: str = "auto", threads: int | None = None) -> None:
        require("onnxruntime", "onnx")
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors are raised as well
        if threads is not None:
            options.intra_op_num_threads = threads
        providers = _providers(device, onnxruntime.get_available_providers())
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # onnxruntime's own, without a common base
            raise InputError(f"{path}: onnxruntime cannot read it ({first_line(error)}); export it again") from error
        self._path = path
        self._names = [output.name for output in self._session.get_outputs()]

    @property
    def metadata(self) -> Mapping[str, str]:
        """Texts that the file stores."""
        stored: Mapping[str, str] = self._session.get_modelmeta().custom_metadata_map
        return stored

    def run(self, images: Array) -> dict[str, Array]:
        """Return the outputs by name for an input (N, 3, H, W)."""
        try:
            found = self._session.run(self._names, {INPUT: images})
        except Exception as error:
            if not out_of_memory(error):
                raise InputError(f"{self._path}: onnxruntime failed ({first_line(error)})") from error
            raise InputError("there is too little memory; set max_memory or long_side") from error
        return dict(zip(self._names, found, strict=True))


def _providers(device: str, available: list[str]) -> list[Any]:
    name, _, number = device.partition(":")
    if device in ("auto", "cpu"):
        return ["CPUExecutionProvider"]
    if name == "cuda" and "CUDAExecutionProvider" in available and (number.isdecimal() or not number):
        return [("CUDAExecutionProvider", {"device_id": int(number or 0)})]
    raise InputError(
        f"device: {device} is not available in this onnxruntime ({', '.join(available)}); cuda needs onnxruntime-gpu"
    )
