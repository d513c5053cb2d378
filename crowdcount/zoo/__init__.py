"""The model zoo: from a name to a model ready to count."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.zoo.config import list_models
    from crowdcount.zoo.models import Model, ReferringModel, create_model, list_weights, load_model

__all__ = [
    "Model",
    "ReferringModel",
    "create_model",
    "list_models",
    "list_weights",
    "load_model",
]

__getattr__ = lazy_names(
    __name__,
    {
        "config": ("list_models",),
        "models": (
            "Model",
            "ReferringModel",
            "create_model",
            "list_weights",
            "load_model",
        ),
    },
)
