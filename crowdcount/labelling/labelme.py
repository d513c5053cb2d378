"""LabelMe: one JSON file beside each image, which the tool opens with it.

Format: `labelme.LabelFile` of version 5. A point has one corner and belongs to no group; `imageData` is null, so that
the image is read from `imagePath`.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from crowdcount.files import atomic_write
from crowdcount.labelling.proposal import Proposal

_VERSION: Final = "5.5.0"


def write(folder: Path, proposals: Sequence[Proposal], label: str) -> list[Path]:
    """Write a file for each image, and return their paths.

    Args:
        folder: folder of the images; two images whose names differ in their suffix alone would share a file.
        proposals: images with their points.
        label: label of every point.
    """
    files = [(folder / proposal.image).with_suffix(".json") for proposal in proposals]
    for file, proposal in zip(files, proposals, strict=True):
        atomic_write(file, json.dumps(_table(proposal, label), indent=1, ensure_ascii=False) + "\n")
    return files


def _table(proposal: Proposal, label: str) -> dict[str, Any]:
    shape: dict[str, Any] = {"label": label, "shape_type": "point", "flags": {}}
    shape |= {"group_id": None, "description": "", "mask": None}
    return {
        "version": _VERSION,
        "flags": {},
        "shapes": [{**shape, "points": [[x, y]]} for x, y in proposal.decimals],
        "imagePath": proposal.image,
        "imageData": None,
        "imageHeight": proposal.height,
        "imageWidth": proposal.width,
    }
