"""CVAT: "CVAT for images 1.1", one XML file for a task, uploaded as its annotations.

The task must have a label of this name, of the type points or any, and images of these names. Every head is an element
of its own, so that it is moved or deleted alone.
"""

from collections.abc import Sequence
from pathlib import Path
from xml.etree import ElementTree

from crowdcount.files import atomic_write
from crowdcount.labelling.proposal import Proposal


def write(folder: Path, proposals: Sequence[Proposal], label: str) -> list[Path]:
    """Write `annotations.xml`, and return its path.

    Args:
        folder: folder of the images.
        proposals: images with their points.
        label: label of every point.
    """
    top = ElementTree.Element("annotations")
    ElementTree.SubElement(top, "version").text = "1.1"
    labels = ElementTree.SubElement(ElementTree.SubElement(ElementTree.SubElement(top, "meta"), "task"), "labels")
    entry = ElementTree.SubElement(labels, "label")
    for key, text in (("name", label), ("type", "points"), ("attributes", "")):
        ElementTree.SubElement(entry, key).text = text
    for number, proposal in enumerate(proposals):
        _add_image(top, number, proposal, label)
    ElementTree.indent(top)
    file = folder / "annotations.xml"
    text = ElementTree.tostring(top, encoding="unicode")
    atomic_write(file, f'<?xml version="1.0" encoding="utf-8"?>\n{text}\n')
    return [file]


def _add_image(top: ElementTree.Element, number: int, proposal: Proposal, label: str) -> None:
    size = {"width": str(proposal.width), "height": str(proposal.height)}
    image = ElementTree.SubElement(top, "image", {"id": str(number), "name": proposal.image, **size})
    for x, y in proposal.decimals:
        places = {"points": f"{x!r},{y!r}", "occluded": "0", "z_order": "0"}
        ElementTree.SubElement(image, "points", {"label": label, "source": "auto", **places})
