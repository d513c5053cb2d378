"""torch.export: the graph of a network for any number of images of any size, and the file .pt2."""

import io
import json
from pathlib import Path
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import Dim, ExportedProgram

from crowdcount.errors import InputError
from crowdcount.export.graph import Graph
from crowdcount.export.quiet import quiet
from crowdcount.models.same_padding import fixed_padding
from crowdcount.runtimes.description import Description

LEAST: Final = 2
"""Smallest side of what a .pt2 file takes, in size divisors: torch.export takes no side of one for a variable one."""

METADATA: Final = "crowdcount.json"
"""Name of the metadata among the extra files of a .pt2."""


def trace(graph: Graph, name: str) -> ExportedProgram:
    """Return the program of a graph, for any number of images of one size, whose sides are multiples of the divisor.

    Args:
        graph: the graph.
        name: of the model, for messages.

    Raises:
        InputError: torch cannot export the network.
    """
    divisor = graph.divisor
    rows, columns = (max(-(-pixels // divisor), LEAST) for pixels in (192, 256))
    # With one image torch guards that there is one, and refuses the dynamic number (0/1 specialization).
    example = torch.zeros(2, 3, rows * divisor, columns * divisor)
    sizes = {0: Dim("images"), 2: divisor * Dim("rows"), 3: divisor * Dim("columns")}
    try:
        with torch.no_grad(), fixed_padding(graph), quiet():
            return torch.export.export(graph, (example,), dynamic_shapes=(sizes,), strict=False)
    except Exception as error:  # torch raises nearly anything for what it cannot trace
        raise InputError(
            f"{name}: torch cannot export this network for any number of images of any size ({_short(error)})"
        ) from error


def save_program(program: ExportedProgram, path: Path, about: Description) -> None:
    """Write a .pt2 file, which `torch.export.load` reads; its extra file `METADATA` describes it."""
    content = io.BytesIO()  # torch ends the process where its own writing of a file fails
    with quiet():
        torch.export.save(program, content, extra_files={METADATA: json.dumps(about.metadata(), ensure_ascii=False)})
    path.write_bytes(content.getbuffer())


class ProgramSession:
    """A .pt2 file in torch; see `crowdcount.runtimes.sessions.Session`.

    Args:
        path: of the file.
    """

    def __init__(self, path: Path) -> None:
        extra = {METADATA: ""}
        with quiet():
            self._module = torch.export.load(path, extra_files=extra).module()
        self.metadata: dict[str, str] = json.loads(extra[METADATA])
        self._names = list(json.loads(self.metadata["postprocessing"])["outputs"])

    def run(self, images: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """Return the outputs by name for an input (N, 3, H, W)."""
        with torch.inference_mode():
            found = self._module(torch.from_numpy(images))
        return {name: value.numpy() for name, value in zip(self._names, found, strict=True)}


def _short(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {(lines or [''])[0][:300]}"
