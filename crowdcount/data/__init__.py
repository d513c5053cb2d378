"""Data sets, augmentation and data loading.

The adapters do not need torch, lightning or albumentations.
"""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.data.augment import Augment
    from crowdcount.data.datamodule import CrowdData
    from crowdcount.data.sample import CrowdSource, Expression, Record
    from crowdcount.data.sources.captions import Captions
    from crowdcount.data.sources.concat import Concat
    from crowdcount.data.sources.folder import Folder
    from crowdcount.data.sources.fsc147 import Fsc147
    from crowdcount.data.sources.hold_out import HoldOut
    from crowdcount.data.sources.jhu_crowd import JhuCrowd
    from crowdcount.data.sources.mall import Mall
    from crowdcount.data.sources.nwpu import Nwpu
    from crowdcount.data.sources.rec8k import Rec8k
    from crowdcount.data.sources.shanghaitech import ShanghaiTech
    from crowdcount.data.sources.ucf_cc_50 import UcfCc50
    from crowdcount.data.sources.ucf_qnrf import UcfQnrf
    from crowdcount.data.synthetic.referring import ReferringScenes
    from crowdcount.data.synthetic.scenes import Synthetic
    from crowdcount.images import Resize, ResizePreset, ShortSide, read_image

__all__ = [
    "Augment",
    "Captions",
    "Concat",
    "CrowdData",
    "CrowdSource",
    "Expression",
    "Folder",
    "Fsc147",
    "HoldOut",
    "JhuCrowd",
    "Mall",
    "Nwpu",
    "Rec8k",
    "Record",
    "ReferringScenes",
    "Resize",
    "ResizePreset",
    "ShanghaiTech",
    "ShortSide",
    "Synthetic",
    "UcfCc50",
    "UcfQnrf",
    "read_image",
]

__getattr__ = lazy_names(
    __name__,
    {
        "augment": ("Augment",),
        "crowdcount.images": ("Resize", "ResizePreset", "ShortSide", "read_image"),
        "datamodule": ("CrowdData",),
        "sample": (
            "CrowdSource",
            "Expression",
            "Record",
        ),
        "sources.captions": ("Captions",),
        "sources.concat": ("Concat",),
        "sources.folder": ("Folder",),
        "sources.fsc147": ("Fsc147",),
        "sources.hold_out": ("HoldOut",),
        "sources.jhu_crowd": ("JhuCrowd",),
        "sources.mall": ("Mall",),
        "sources.nwpu": ("Nwpu",),
        "sources.rec8k": ("Rec8k",),
        "sources.shanghaitech": ("ShanghaiTech",),
        "sources.ucf_cc_50": ("UcfCc50",),
        "sources.ucf_qnrf": ("UcfQnrf",),
        "synthetic.referring": ("ReferringScenes",),
        "synthetic.scenes": ("Synthetic",),
    },
)
