"""Label Studio: tasks with predictions, and the labelling configuration that they are for.

Coordinates are percentages of the image's sides. An image is addressed as a local file below the document root of the
server, by the name of its folder and its own.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from crowdcount.files import atomic_write
from crowdcount.labelling.proposal import Proposal

FOLDER: Final = "label-studio"
"""Folder of the two files, beside the images, so that they are not taken for LabelMe's."""

_FROM, _TO = "head", "image"
_DOT: Final = 0.5
"""Width of a point on the screen, as a percentage of the image's width."""


def write(folder: Path, proposals: Sequence[Proposal], label: str) -> list[Path]:
    """Write `tasks.json` and `labels.xml` into a folder beside the images, and return their paths.

    Args:
        folder: folder of the images, below the document root of the server.
        proposals: images with their points.
        label: label of every point.
    """
    tasks = [_task(folder.name, proposal, label) for proposal in proposals]
    files = [folder / FOLDER / "tasks.json", folder / FOLDER / "labels.xml"]
    atomic_write(files[0], json.dumps(tasks, indent=1, ensure_ascii=False) + "\n")
    atomic_write(files[1], _configuration(label))
    return files


def _configuration(label: str) -> str:
    return (
        "<View>\n"
        f'  <Image name="{_TO}" value="$image" zoom="true" zoomControl="true"/>\n'
        f'  <KeyPointLabels name="{_FROM}" toName="{_TO}" strokeWidth="2">\n'
        f"    <Label value={quoteattr(label)}/>\n"
        "  </KeyPointLabels>\n"
        "</View>\n"
    )


def _task(folder: str, proposal: Proposal, label: str) -> dict[str, Any]:
    results = [_result(number, place, proposal, label) for number, place in enumerate(proposal.decimals)]
    address = f"/data/local-files/?d={quote(f'{folder}/{proposal.image}')}"
    return {"data": {"image": address}, "predictions": [{"model_version": proposal.model, "result": results}]}


def _result(number: int, place: tuple[float, float], proposal: Proposal, label: str) -> dict[str, Any]:
    x, y = (100 * value / side for value, side in zip(place, (proposal.width, proposal.height), strict=True))
    return {
        "id": f"head{number}",
        "type": "keypointlabels",
        "from_name": _FROM,
        "to_name": _TO,
        "original_width": proposal.width,
        "original_height": proposal.height,
        "image_rotation": 0,
        "value": {"x": x, "y": y, "width": _DOT, "keypointlabels": [label]},
    }
