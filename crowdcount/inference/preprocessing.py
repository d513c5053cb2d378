"""Preprocessing of a model's images, as releases and exports state it."""

from typing import Any

from crowdcount.inference.model import CrowdModel


def preprocessing(model: CrowdModel) -> dict[str, Any]:
    """Return the preprocessing of an image, and the stride and size divisor of the network."""
    data = model.config.get("data", {})
    network = model.network
    sides = {key: getattr(network, key) for key in ("stride", "size_divisor") if hasattr(network, key)}
    return {
        "color": "RGB, divided by 255",
        "mean": list(network.mean),
        "std": list(network.std),
        "size_rule": data or None,
        **sides,
    }
