"""Export of a model to a file that is compared with torch before it gets its name."""

import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal

from crowdcount.errors import InputError
from crowdcount.export.graph import describe, exportable, make_graph
from crowdcount.export.onnx_file import save_onnx
from crowdcount.export.openvino_file import convert_onnx, save_openvino
from crowdcount.export.parity import Parity, check, compare, noise
from crowdcount.export.program import LEAST, ProgramSession, save_program, trace
from crowdcount.export.quantization import quantize
from crowdcount.files import write_error
from crowdcount.images.read import Image
from crowdcount.inference.model import CrowdModel, Model
from crowdcount.runtimes.sessions import Session, open_session, require

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
    """Write the graph of a density model for images of any size, and compare it with torch.

    The file gets its name only if its outputs in its runtime equal those of torch, at five sizes and to rounding.
    Intervals of the model go into it.

    Args:
        model: a loaded model.
        path: file to write, with the suffix of the format; an existing one is replaced.
        form: "onnx", "openvino" (an .xml with a .bin beside it), or "torch" (torch.export's .pt2).

    Returns:
        The comparison, size by size.

    Raises:
        ParityError: the graph does not compute what the network computes.
        InputError: the model cannot be exported, a package is missing, or the file cannot be written.
    """
    model = exportable(model)
    for package, extra in _NEEDS[form]:
        require(package, extra)
    check_target(path, form)
    with _unnamed(path) as file:
        results = _write(model, file, form)
        _name(file, path)
    return results


def export_int8(model: CrowdModel, path: Path, images: Iterable[Image], reference: Path | None = None) -> list[Parity]:
    """Write a density model for OpenVINO with weights and activations of int8, made with images by nncf.

    Before it is quantised, the graph is compared with torch; counts of the quantised one differ from those of torch.

    Args:
        model: a loaded model.
        path: the .xml file to write; an existing one is replaced.
        images: (H, W, 3) uint8 RGB, like those that will be counted.
        reference: also write the model in float32 there.

    Returns:
        The comparison of the graph in float32, size by size.

    Raises:
        InputError: see `export_model`.
    """
    model = exportable(model)
    for package, extra in (*_NEEDS["openvino"], ("nncf", "export")):
        require(package, extra)
    for target in (path, reference or path):
        check_target(target, "openvino")
    graph = make_graph(model)
    about = describe(model, graph)
    with _unnamed(path) as file:
        onnx, plain = file.with_suffix(".onnx"), file.with_name("float32.xml")
        save_onnx(trace(graph, about.name), onnx, about)
        save_openvino(convert_onnx(onnx), plain, about)
        results = compare(graph, open_session(plain).run)
        check(results, about.name)
        quantize(onnx, file, about, images)
        open_session(file).run(noise(2 * graph.divisor, graph.divisor))  # a file that is damaged has no name yet
        if reference is not None:
            _name(plain, reference)
        _name(file, path)
    return results


def check_target(path: Path, form: Format) -> None:
    """Check that a file can be written under a name.

    Raises:
        InputError: the suffix is that of another format, it is a folder, or its .bin would replace another file.
    """
    if path.suffix != SUFFIXES[form]:
        raise InputError(f"{path}: the file of --format {form} ends in {SUFFIXES[form]}")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give a file")
    if form == "openvino" and not path.exists() and (weights := path.with_suffix(".bin")).exists():
        raise InputError(f"{weights}: exists and belongs to no {path.name}; give --output another name, or remove it")


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
    """Yield a file of the same suffix in a folder of its own beside a path, which goes in the end.

    Raises:
        InputError: nothing can be written there.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".export-", dir=path.parent) as folder:
            yield Path(folder) / f"model{path.suffix}"
    except OSError as error:
        raise write_error(path, error) from error


def _name(file: Path, path: Path) -> None:
    """Give a file, and the .bin that belongs to it, their names."""
    if file.suffix == ".xml":
        path.unlink(missing_ok=True)  # whatever interrupts this, no .xml stands beside the weights of another
        file.with_suffix(".bin").replace(path.with_suffix(".bin"))
    file.replace(path)
