"""Networks by family. They do not depend on Lightning, data or inference."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.models.base import CountMap, CrowdNetwork, DensityNetwork
    from crowdcount.models.blockwise.bins import Bins
    from crowdcount.models.blockwise.counter import BlockwiseCounter
    from crowdcount.models.blockwise.loss import Dace
    from crowdcount.models.clip_ebc.network import ClipEbc
    from crowdcount.models.ebc.network import Ebc
    from crowdcount.models.hmode.network import Hmode
    from crowdcount.models.image_text.network import ImageText
    from crowdcount.models.rec.network import ReferringDetector
    from crowdcount.models.zip.clip_network import ClipZip
    from crowdcount.models.zip.network import Zip

__all__ = [
    "Bins",
    "BlockwiseCounter",
    "ClipEbc",
    "ClipZip",
    "CountMap",
    "CrowdNetwork",
    "Dace",
    "DensityNetwork",
    "Ebc",
    "Hmode",
    "ImageText",
    "ReferringDetector",
    "Zip",
]

__getattr__ = lazy_names(
    __name__,
    {
        "base": (
            "CountMap",
            "DensityNetwork",
            "CrowdNetwork",
            "Dace",
        ),
        "blockwise.bins": ("Bins",),
        "blockwise.counter": ("BlockwiseCounter",),
        "blockwise.loss": ("Dace",),
        "clip_ebc.network": ("ClipEbc",),
        "ebc.network": ("Ebc",),
        "hmode.network": ("Hmode",),
        "image_text.network": ("ImageText",),
        "rec.network": ("ReferringDetector",),
        "zip.clip_network": ("ClipZip",),
        "zip.network": ("Zip",),
    },
)
