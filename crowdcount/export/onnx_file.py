"""ONNX files: one file with weights and metadata."""

from pathlib import Path
from typing import Final

import torch
from torch.export import ExportedProgram

from crowdcount.errors import InputError
from crowdcount.export.quiet import quiet
from crowdcount.runtimes.description import INPUT, Description
from crowdcount.runtimes.sessions import require

_LARGEST: Final = 2**31 - 1
"""Bytes that one file of the format may have."""


def save_onnx(program: ExportedProgram, path: Path, about: Description) -> None:
    """Write an .onnx file with its weights inside and its description as metadata.

    Raises:
        InputError: the exporter is missing, the weights are too large for one file, or ONNX has no such operation.
    """
    for package in ("onnx", "onnxscript"):
        require(package, "export")
    size = sum(each.nbytes for each in program.state_dict.values())
    if size > _LARGEST:
        raise InputError(f"{about.name}: {size / 2**30:.1f} GiB of weights are more than the 2 GiB of an ONNX file")
    try:
        with quiet():
            exported = torch.onnx.export(
                program, input_names=[INPUT], output_names=list(about.outputs), dynamo=True, verbose=False
            )
    except Exception as error:  # the exporter's own, without a common base
        lines = str(error.__cause__ or error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"{about.name}: torch cannot write this network as ONNX ({lines[0][:300]})") from error
    assert exported is not None, "the exporter of torch.export returns a program"
    exported.model.metadata_props.update(about.metadata())
    exported.save(path, external_data=False)
