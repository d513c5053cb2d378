"""Dense crowd counting: published methods behind one interface, with numbers you can check."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crowdcount.predictor import Predictor, count, predict
    from crowdcount.zoo import Model, ReferringModel, create_model, list_models, list_weights, load_model

__all__ = [
    "Model",
    "Predictor",
    "ReferringModel",
    "count",
    "create_model",
    "list_models",
    "list_weights",
    "load_model",
    "predict",
]


def __getattr__(name: str) -> Any:
    """Import the rest on first use: `import crowdcount` alone stays light."""
    if name in ("Predictor", "count", "predict"):
        from crowdcount import predictor

        return getattr(predictor, name)
    if name in __all__:
        from crowdcount import zoo

        return getattr(zoo, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
