"""Levels of adapting: how much of a network changes, from nothing to its last blocks."""

from collections.abc import Sequence
from typing import Final, Literal

from torch import nn

from crowdcount.models.base import DensityNetwork
from crowdcount.models.blockwise.counter import BlockwiseCounter

Level = Literal["start", "factor", "statistics", "head", "blocks"]

LEVELS: Final[dict[Level, str]] = {
    "start": "nothing",
    "factor": "one number, by which counts are multiplied",
    "statistics": "means and variances of batch normalisation",
    "head": "the layers that turn features into a density",
    "blocks": "the last blocks and the head",
}
"""Levels by their cost, with what changes."""

_LAST: Final = 3
"""One in so many layers belongs to the last blocks where nothing but the head is behind the backbone."""


def offered_levels(network: DensityNetwork) -> list[Level]:
    """Return the levels that a network has, by their cost.

    A factor needs anchors to multiply, and the head of a network is known if it names its `feature_layer`.
    """
    head, blocks = trained_parameters(network, "head"), trained_parameters(network, "blocks")
    there: dict[Level, bool] = {
        "start": True,
        "factor": isinstance(network, BlockwiseCounter),
        "statistics": bool(normalisations(network)),
        "head": bool(head),
        "blocks": blocks != head,
    }
    return [level for level in LEVELS if there[level]]


def trained_parameters(network: DensityNetwork, level: Level) -> list[str]:
    """Return the names of the parameters that a level trains, of those that a training of the network trains.

    The head is `BlockwiseCounter.feature_layer` and what follows it. The last blocks are all layers after the backbone;
    where the head alone is, or nothing, the last third of all layers.
    """
    layers = _layers(network)
    head = _head_start(network, layers)
    if level == "head":
        start = head
    elif level == "blocks":
        start = _backbone_end(network, layers)
        start = start if start < head and start < len(layers) else min(len(layers) - -(-len(layers) // _LAST), head)
    else:
        start = len(layers)
    return [name for _, names in layers[start:] for name in names]


def backbone(network: nn.Module) -> tuple[str, nn.Module]:
    """Return name and module of the backbone: the first submodule with parameters."""
    return next((name, child) for name, child in network.named_children() if any(True for _ in child.parameters()))


def normalisations(network: nn.Module) -> list[nn.modules.batchnorm._BatchNorm]:
    """Return the layers of batch normalisation that normalise by stored statistics."""
    layers = (layer for layer in network.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm))
    return [layer for layer in layers if layer.running_mean is not None]


def _backbone_end(network: DensityNetwork, layers: Sequence[tuple[str, Sequence[str]]]) -> int:
    first, _ = backbone(network)
    return next((number for number, (name, _) in enumerate(layers) if name.split(".")[0] != first), len(layers))


def _head_start(network: DensityNetwork, layers: Sequence[tuple[str, Sequence[str]]]) -> int:
    """Return the index of the first layer of the head, the number of layers if it is not known."""
    first = getattr(network, "feature_layer", "")
    names = [number for number, (name, _) in enumerate(layers) if first and f"{name}.".startswith(f"{first}.")]
    return names[0] if names else len(layers)


def _layers(network: nn.Module) -> list[tuple[str, list[str]]]:
    """Return name and parameters of each layer, from first to last; parameters of the network itself come last."""
    found = []
    for name, module in network.named_modules():
        own = [key for key, value in module.named_parameters(recurse=False) if value.requires_grad]
        if own:
            found.append((name, [f"{name}.{key}" if name else key for key in own]))
    return sorted(found, key=lambda layer: not layer[0])
