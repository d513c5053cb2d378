"""Choosing the frames that are worth labelling, and files of annotation tools with points that a person corrects."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from crowdcount.labelling import cvat, label_studio, labelme
from crowdcount.labelling.proposal import Proposal

FORMATS: Final[dict[str, Callable[[Path, Sequence[Proposal], str], list[Path]]]] = {
    "labelme": labelme.write,
    "cvat": cvat.write,
    "label-studio": label_studio.write,
}
"""Writers by the name of the format on the command line, which is that of its importer."""
