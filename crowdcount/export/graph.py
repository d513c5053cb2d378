"""The network as an exported graph computes it, and the description that goes with it."""

import copy

import torch
from torch import Tensor, nn

from crowdcount import __version__
from crowdcount.errors import InputError
from crowdcount.inference.model import CrowdModel, ImageTextModel, Model
from crowdcount.inference.receptive_field import bytes_per_pixel, inexact_reason, receptive_margin
from crowdcount.models.base import CountMap, DensityNetwork
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.models.tile_context import whole_image
from crowdcount.runtimes.description import Description
from crowdcount.weights.download import file_sha256
from crowdcount.weights.state_dict import state_digest


class Untiled(DensityNetwork):
    """A density network as a graph has it: it knows nothing of the image that a tile is cut from.

    Tiles of networks that need to know it (`crowdcount.models.tile_context`) are therefore not exact.

    Args:
        network: in evaluation mode, on the CPU.
    """

    def __init__(self, network: DensityNetwork) -> None:
        super().__init__()
        self.network = network
        self.stride, self.size_divisor = network.stride, network.size_divisor
        self.predicts_variance, self.compares_sizes = network.predicts_variance, network.compares_sizes
        self.mean, self.std = network.mean, network.std

    def forward(self, image: Tensor) -> CountMap:
        """Count in a normalised image batch (B, 3, H, W)."""
        with whole_image():
            output: CountMap = self.network(image)
        return output


class Graph(nn.Module):
    """The outputs of a network that a file holds, as a tuple; see `crowdcount.runtimes.description.OUTPUTS`.

    Args:
        network: in evaluation mode, on the CPU.
    """

    def __init__(self, network: Untiled) -> None:
        super().__init__()
        self.network = network
        self.divisor = network.size_divisor

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """Return the maps of `CountMap.outputs`."""
        return tuple(self.outputs(image).values())

    def outputs(self, image: Tensor) -> dict[str, Tensor]:
        """Return the outputs by name for normalised images (N, 3, H, W)."""
        output: CountMap = self.network(image)
        return output.outputs()


def exportable(model: CrowdModel) -> Model:
    """Return the model, typed as one that can be exported.

    Raises:
        InputError: it reads text.
    """
    if isinstance(model, Model):
        return model
    what = "captions" if isinstance(model, ImageTextModel) else "expressions"
    raise InputError(
        f"{model.label}: cannot be exported, as it reads {what}: tokens, whose number differs from call to call, would "
        "be further inputs of its graph; models that count people from the image alone can be"
    )


def make_graph(model: Model) -> Graph:
    """Return the graph of a model, a copy of its network in float32 on the CPU."""
    network = copy.deepcopy(model.network).cpu().float().eval().requires_grad_(False)
    return Graph(Untiled(network)).eval()


def describe(model: Model, graph: Graph) -> Description:
    """Return what the file of an exported model says of itself.

    Raises:
        InputError: the size rule is of a class that a file cannot hold.
    """
    network, inference = graph.network, model.inference
    bins = model.network.bins if isinstance(model.network, BlockwiseCounter) else None
    side = -(-64 // network.size_divisor) * network.size_divisor
    with torch.inference_mode():
        outputs = graph.outputs(torch.zeros(1, 3, side, side))
    return Description(
        name=model.label,
        crowdcount=__version__,
        weights_sha256=state_digest(model.network.state_dict()),
        source_sha256="" if model.file is None else file_sha256(model.file),
        mean=tuple(network.mean),
        std=tuple(network.std),
        stride=network.stride,
        size_divisor=network.size_divisor,
        outputs=tuple(outputs),
        division=inference.protocol,
        bytes_per_pixel=bytes_per_pixel(network),
        tile_margin=receptive_margin(network),
        inexact_reason=inexact_reason(network),
        size_rule=model.resize,
        window=inference.window,
        step=inference.step,
        window_batch=inference.window_batch,
        max_memory=inference.max_memory,
        classes={} if bins is None else {"intervals": list(bins.intervals), "anchors": bins.values},
        origin=model.origin,
        intervals=model.intervals,
    )
