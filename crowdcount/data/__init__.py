"""Data sets and the way from a record to a batch.

The adapters need neither torch nor lightning nor albumentations; names whose modules do are imported on first use.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from crowdcount.data.folder import Folder
from crowdcount.data.fsc147 import Fsc147
from crowdcount.data.jhu_crowd import JhuCrowd
from crowdcount.data.joined import Joined
from crowdcount.data.mall import Mall
from crowdcount.data.nwpu import Nwpu
from crowdcount.data.paper_size import PaperSize
from crowdcount.data.rec8k import Rec8k
from crowdcount.data.referring_scenes import ReferringScenes
from crowdcount.data.resize import Resize, ShortSide
from crowdcount.data.sample import CrowdSource, Expression, Record, read_image
from crowdcount.data.shanghaitech import ShanghaiTech
from crowdcount.data.synthetic import Synthetic
from crowdcount.data.ucf_cc_50 import UcfCc50
from crowdcount.data.ucf_qnrf import UcfQnrf

if TYPE_CHECKING:
    from crowdcount.data.augment import Augment
    from crowdcount.data.datamodule import CrowdData

_HEAVY = {"Augment": "augment", "CrowdData": "datamodule"}

__all__ = [
    "Augment",
    "CrowdData",
    "CrowdSource",
    "Expression",
    "Folder",
    "Fsc147",
    "JhuCrowd",
    "Joined",
    "Mall",
    "Nwpu",
    "PaperSize",
    "Rec8k",
    "Record",
    "ReferringScenes",
    "Resize",
    "ShanghaiTech",
    "ShortSide",
    "Synthetic",
    "UcfCc50",
    "UcfQnrf",
    "read_image",
]


def __getattr__(name: str) -> object:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"crowdcount.data.{_HEAVY[name]}"), name)
