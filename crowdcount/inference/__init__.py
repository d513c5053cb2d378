"""Inference: from a network and an image to a prediction."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.inference.density import Inference
    from crowdcount.inference.peaks import density_peaks
    from crowdcount.inference.points import PointInference, PointPrediction
    from crowdcount.inference.prediction import Prediction

__all__ = [
    "Inference",
    "PointInference",
    "PointPrediction",
    "Prediction",
    "density_peaks",
]

__getattr__ = lazy_names(
    __name__,
    {
        "density": ("Inference",),
        "peaks": ("density_peaks",),
        "points": (
            "PointInference",
            "PointPrediction",
        ),
        "prediction": ("Prediction",),
    },
)
