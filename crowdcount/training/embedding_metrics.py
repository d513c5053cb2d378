"""Metrics of the embeddings that contrastive terms train, as a callback."""

import math
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from numpy.typing import NDArray
from torch import Tensor

from crowdcount.checks import check_number
from crowdcount.data.dataset import Batch
from crowdcount.distributed import all_gather
from crowdcount.errors import InputError
from crowdcount.losses.contrastive.geometry import alignment, uniformity
from crowdcount.losses.contrastive.pairs import class_pairs
from crowdcount.losses.contrastive.ranking import auc
from crowdcount.losses.density import block_targets
from crowdcount.metrics.label_order import label_rank_correlation
from crowdcount.models.blockwise.counter import BlockwiseCounter
from crowdcount.training.contrastive_blocks import BlockFeatures
from crowdcount.training.contrastive_tokens import logit_pairs, text_ids
from crowdcount.training.referring import ReferringModule, point_targets

Array = NDArray[np.float32]
_MOST = 2048  # vectors for alignment and uniformity, whose pairs are all looked at
_SAME_POINT = 1e-6


class EmbeddingMetrics(Callback):
    """Log how embeddings and scores are arranged, in validation and testing; runs the network once more per image.

    Blockwise networks: `label_order`, the rank correlation of the bins' similarity with the nearness of their counts
    (see `label_rank_correlation`). ReferringModule: `auc` of the scores of all expressions pooled, objects against all
    other queries; `sibling_auc`, objects of an expression against those of the image's other expressions, by the
    nearest query to each. Both: `alignment` and `uniformity` (Wang and Isola, arXiv 2005.10242) of the vectors of a
    bin, or of the matched tokens of an expression.

    Args:
        per_bin: blocks of each bin taken from an image, the first ones.
        max_side: side in pixels to which an image is cut for the blocks, from its left top corner.

    Raises:
        InputError: a number is out of range.
    """

    def __init__(self, per_bin: int = 32, max_side: int = 1024) -> None:
        check_number("EmbeddingMetrics.per_bin", per_bin, 1)
        check_number("EmbeddingMetrics.max_side", max_side, 1)
        self.per_bin, self.max_side = per_bin, max_side
        self.reset()

    def reset(self) -> None:
        """Forget all images."""
        self._vectors: list[tuple[Array, NDArray[np.int64]]] = []
        self._scores: list[tuple[Array, Array, Array, Array]] = []

    def on_validation_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Look at a validation image."""
        self.update(pl_module, batch)

    def on_test_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Batch, *_: int
    ) -> None:
        """Look at a test image."""
        self.update(pl_module, batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the validation images."""
        pl_module.log_dict({f"val/{name}": value for name, value in self.compute(pl_module).items()})
        self.reset()

    def on_test_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Log the metrics of the test images."""
        pl_module.log_dict({f"test/{name}": value for name, value in self.compute(pl_module).items()})
        self.reset()

    @torch.no_grad()
    def update(self, module: LightningModule, batch: Batch) -> None:
        """Add the images of a batch.

        Raises:
            InputError: the module has neither blocks nor tokens.
        """
        if batch.is_padding:
            return
        if isinstance(module, ReferringModule):
            self._add_tokens(module, batch)
        elif isinstance(getattr(module, "network", None), BlockwiseCounter):
            self._add_blocks(module.network, batch)  # type: ignore[arg-type]
        else:
            raise InputError(f"EmbeddingMetrics: {type(module).__name__} has neither count bins nor image tokens")

    def compute(self, module: LightningModule) -> dict[str, float]:
        """Return the metrics over the images of all processes; a collective call. NaN for what there is none of."""
        found = all_gather(self._vectors)
        if not found:
            return {}
        if isinstance(module, ReferringModule):
            found = _apart(found)
        vectors, labels = (np.concatenate(each) for each in zip(*found, strict=True))
        values = _geometry(vectors, labels)
        if isinstance(module, ReferringModule):
            high, low, own, sibling = (np.concatenate(each) for each in zip(*all_gather(self._scores), strict=True))
            return {"auc": _auc(high, low), "sibling_auc": _auc(own, sibling), **values}
        bins = module.network.bins  # type: ignore[union-attr]
        return {"label_order": label_rank_correlation(vectors, labels, np.array(bins.values)), **values}

    def _add_blocks(self, network: BlockwiseCounter, batch: Batch) -> None:
        kept = BlockFeatures(network, in_training=False)
        height, width = (min(side, self.max_side) for side in batch.images.shape[-2:])
        multiple = network.size_divisor
        height, width = max(height // multiple, 1) * multiple, max(width // multiple, 1) * multiple
        image = batch.images[:, :, :height, :width]
        pad = (0, width - image.shape[-1], 0, height - image.shape[-2])
        density = network(torch.nn.functional.pad(network.normalize(image), pad)).density
        kept.close()
        features = kept.take().movedim(1, -1).flatten(0, 2)
        inside = [points[(points < (width, height)).all(axis=1)] for points in batch.points]
        labels = network.bins.classes(block_targets(inside, density.float(), network.stride)[:, 0]).flatten()
        chosen = torch.cat([(labels == label).nonzero()[: self.per_bin, 0] for label in range(len(network.bins))])
        self._vectors.append((_array(features[chosen]), labels[chosen].cpu().numpy()))

    def _add_tokens(self, module: ReferringModule, batch: Batch) -> None:
        found = module.detect(batch)
        targets = point_targets(batch, found)
        texts = [each.text for expressions in batch.expressions for each in expressions]
        pairs = logit_pairs(found, module.loss.matcher(found, targets), text_ids(texts, found.points.device))
        own, sibling = [], []
        for row, points in enumerate(targets):
            nearest = pairs.scores[row][torch.cdist(points, found.points[row]).argmin(dim=1)]
            own.append(nearest)
            image = found.image_index == found.image_index[row]
            strange = torch.cat([targets[other] for other in image.nonzero()[:, 0].tolist()])
            shared = ((strange[:, None] - points).abs().amax(dim=2) <= _SAME_POINT).any(dim=1)
            sibling.append(pairs.scores[row][torch.cdist(strange[~shared], found.points[row]).argmin(dim=1)])
        scores = pairs.scores[pairs.pos], pairs.scores[pairs.neg], torch.cat(own), torch.cat(sibling)
        self._scores.append(tuple(_array(each) for each in scores))  # type: ignore[arg-type]
        tokens = module.network.projection(found.queries)[pairs.pos]
        self._vectors.append((_array(tokens), pairs.pos.nonzero()[:, 0].cpu().numpy()))


def _apart(found: list[tuple[Array, NDArray[np.int64]]]) -> list[tuple[Array, NDArray[np.int64]]]:
    """Return vectors with labels that no two images share, also those of different processes."""
    sizes = [int(labels.max(initial=-1)) + 1 for _, labels in found]
    starts = np.cumsum([0, *sizes[:-1]])
    return [(vectors, labels + start) for (vectors, labels), start in zip(found, starts, strict=True)]


def _geometry(vectors: Array, labels: NDArray[np.int64]) -> dict[str, float]:
    step = max(math.ceil(len(vectors) / _MOST), 1)
    z, label = torch.from_numpy(vectors[::step]), torch.from_numpy(labels[::step])
    pairs = class_pairs(z, label, torch.zeros(int(label.max()) + 1 if len(label) else 1))
    every = pairs.pos | pairs.neg
    return {
        "alignment": float(alignment(pairs.scores, pairs.pos)) if pairs.pos.any() else math.nan,
        "uniformity": float(uniformity(pairs.scores, every)) if every.any() else math.nan,
    }


def _auc(high: Array, low: Array) -> float:
    scores = torch.from_numpy(np.concatenate([high, low]))
    pos = torch.arange(len(scores)) < len(high)
    return float(auc(scores, pos, ~pos))


def _array(values: Tensor) -> Array:
    array: Array = values.detach().float().cpu().numpy()
    return array
