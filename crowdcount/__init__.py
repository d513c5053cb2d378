"""Dense crowd counting: published methods behind one interface, with numbers you can check."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names
from crowdcount.legacy import install

if TYPE_CHECKING:
    from crowdcount.batch import count_dataset
    from crowdcount.predictor import Predictor, count, predict
    from crowdcount.zoo import Model, ReferringModel, create_model, list_models, list_weights, load_model

__version__ = "0.2.0"

__all__ = [
    "Model",
    "Predictor",
    "ReferringModel",
    "count",
    "count_dataset",
    "create_model",
    "list_models",
    "list_weights",
    "load_model",
    "predict",
]

install()

__getattr__ = lazy_names(
    __name__,
    {
        "batch.dataset": ("count_dataset",),
        "predictor": (
            "Predictor",
            "count",
            "predict",
        ),
        "zoo": (
            "Model",
            "ReferringModel",
            "create_model",
            "list_models",
            "list_weights",
            "load_model",
        ),
    },
)
