"""Importers of the exports of annotation tools; one module for each format."""

from collections.abc import Callable
from pathlib import Path
from typing import Final

from crowdcount.data.importers import coco, cvat, label_studio, labelme, makesense, mot, via, visdrone, voc, yolo
from crowdcount.data.importers.annotated import Annotated, Choice

FORMATS: Final[dict[str, Callable[[Path, Choice], list[Annotated]]]] = {
    "labelme": labelme.read,
    "cvat": cvat.read,
    "coco": coco.read,
    "label-studio": label_studio.read,
    "yolo": yolo.read,
    "voc": voc.read,
    "makesense": makesense.read,
    "via": via.read,
    "visdrone": visdrone.read,
    "mot": mot.read,
}
"""Readers by the name of the format on the command line."""
