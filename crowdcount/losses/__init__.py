"""Losses as functions of tensors; no models, no data."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.losses.bayesian import BayesianLoss
    from crowdcount.losses.contrastive import ContrastiveTerm, SupCon
    from crowdcount.losses.density import CountL1, DensityLoss, DensityMse
    from crowdcount.losses.dm_count import DmCount

__all__ = [
    "BayesianLoss",
    "ContrastiveTerm",
    "CountL1",
    "DensityLoss",
    "DensityMse",
    "DmCount",
    "SupCon",
]

__getattr__ = lazy_names(
    __name__,
    {
        "bayesian": ("BayesianLoss",),
        "contrastive": ("ContrastiveTerm", "SupCon"),
        "density": (
            "CountL1",
            "DensityLoss",
            "DensityMse",
        ),
        "dm_count": ("DmCount",),
    },
)
