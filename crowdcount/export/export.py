"""Export of a model to a file that is compared with torch before it gets its name."""

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Final, Literal

from crowdcount.errors import InputError
from crowdcount.export.graph import describe, exportable, make_graph
from crowdcount.export.onnx_file import save_onnx
from crowdcount.export.openvino_file import convert_onnx, quantize, save_openvino
from crowdcount.export.parity import Parity, check, compare
from crowdcount.export.program import LEAST, ProgramSession, save_program, trace
from crowdcount.images.read import Image
from crowdcount.inference.model import CrowdModel, Model
from crowdcount.intervals.file import intervals_file
from crowdcount.runtimes.sessions import Session, open_session, require
from crowdcount.weights.download import file_sha256

Format = Literal["onnx", "openvino", "torch"]

SUFFIXES: Final[dict[Format, str]] = {"onnx": ".onnx", "openvino": ".xml", "torch": ".pt2"}
"""End of the name of the file of each format."""

_NEEDS: Final[dict[Format, tuple[tuple[str, str], ...]]] = {
    "onnx": (("onnx", "export"), ("onnxscript", "export"), ("onnxruntime", "onnx")),
    "openvino": (("onnx", "export"), ("onnxscript", "export"), ("openvino", "openvino")),
    "torch": (),
}
"""Packages that each format needs, and the extras that bring them."""


def export_model(model: CrowdModel, path: Path, form: Format = "onnx") -> list[Parity]:
    """Write the graph of a density model for single images of any size, and compare it with torch.

    The file gets its name only if its outputs in its runtime equal those of torch, at five sizes and to rounding.
    Intervals of the model are written beside it.

    Args:
        model: a loaded model.
        path: file to write, with the suffix of the format; an existing one is replaced.
        form: "onnx", "openvino" (an .xml with a .bin beside it), or "torch" (torch.export's .pt2).

    Returns:
        The comparison, size by size.

    Raises:
        ParityError: the graph does not compute what the network computes.
        InputError: the model cannot be exported, or a package is missing.
    """
    model = exportable(model)
    for package, extra in _NEEDS[form]:
        require(package, extra)
    if path.suffix != SUFFIXES[form]:
        raise InputError(f"{path}: the file of --format {form} ends in {SUFFIXES[form]}")
    with _unnamed(path) as file:
        results = _write(model, file, form)
        _name(file, path)
    save_intervals(model, path)
    return results


def export_int8(model: CrowdModel, path: Path, images: Sequence[Image], reference: Path | None = None) -> list[Parity]:
    """Write a density model for OpenVINO with weights and activations of int8, made with images by nncf.

    Before it is quantised, the graph is compared with torch; counts of the quantised one differ from those of torch.

    Args:
        model: a loaded model.
        path: the .xml file to write.
        images: (H, W, 3) uint8 RGB, like those that will be counted.
        reference: also write the model in float32 there.

    Returns:
        The comparison of the graph in float32, size by size.

    Raises:
        InputError: see `export_model`.
    """
    model = exportable(model)
    require("nncf", "openvino")
    graph = make_graph(model)
    about = describe(model, graph)
    with _unnamed(path) as file:
        onnx = file.with_suffix(".onnx")
        save_onnx(trace(graph, about.name), onnx, about)
        plain = file.with_name("float32.xml")
        save_openvino(convert_onnx(onnx), plain, about)
        results = compare(graph, open_session(plain).run)
        check(results, about.name)
        quantised, its = quantize(convert_onnx(onnx), about, images)
        save_openvino(quantised, file, its)
        if reference is not None:
            _name(plain, reference)
        _name(file, path)
    return results


def save_intervals(model: Model, path: Path) -> None:
    """Write the intervals of a model beside its exported file, whose counts are the same."""
    if model.intervals is not None:
        replace(model.intervals, sha256=file_sha256(path)).save(intervals_file(path))


def _write(model: Model, file: Path, form: Format) -> list[Parity]:
    graph = make_graph(model)
    about = describe(model, graph)
    program = trace(graph, about.name)
    if form == "torch":
        save_program(program, file, about)
    elif form == "onnx":
        save_onnx(program, file, about)
    else:
        save_onnx(program, file.with_suffix(".onnx"), about)
        save_openvino(convert_onnx(file.with_suffix(".onnx")), file, about)
    session: Session = ProgramSession(file) if form == "torch" else open_session(file)
    results = compare(graph, session.run, LEAST if form == "torch" else 1)
    check(results, about.name)
    return results


@contextmanager
def _unnamed(path: Path) -> Iterator[Path]:
    """Yield a file of the same suffix in a folder of its own beside a path, which goes in the end."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
        yield Path(folder) / f"model{path.suffix}"


def _name(file: Path, path: Path) -> None:
    """Give a file, and the .bin that belongs to it, their names."""
    if file.suffix == ".xml":
        file.with_suffix(".bin").replace(path.with_suffix(".bin"))
    file.replace(path)
