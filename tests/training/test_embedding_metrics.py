"""Metrics of embeddings: over made-up vectors and scores, and as a callback of a test run."""

import math

import numpy as np
import pytest
import torch
from lightning.pytorch import Trainer

from crowdcount.data import ReferringScenes, Synthetic
from crowdcount.data.augment import Augment
from crowdcount.data.datamodule import CrowdData
from crowdcount.errors import InputError
from crowdcount.models import Bins, Dace, Ebc, ReferringDetector
from crowdcount.models.rec.loss import RecLoss
from crowdcount.training import BlockwiseModule, EmbeddingMetrics, ReferringModule

QUIET = dict.fromkeys(("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary"), False)
WORDS = ("person", "in", "red", "green", "blue", "yellow")


def metrics_of(module, data):
    callback = EmbeddingMetrics(per_bin=8)
    [found] = Trainer(accelerator="cpu", callbacks=[callback], **QUIET).test(module, datamodule=data, verbose=False)
    assert callback._vectors == [] and callback._scores == []
    return found


def test_blocks():
    torch.manual_seed(0)
    network = Ebc("test_resnet", Bins([0, 1, "2+"]), reduction=16, pretrained=False)
    data = CrowdData(Synthetic(train=1, val=0, test=2), Augment(crop=64), val_fraction=0, num_workers=0)
    found = metrics_of(BlockwiseModule(network, Dace("mae")), data)
    assert -1 <= found["test/label_order"] <= 1
    assert 0 <= found["test/alignment"] <= 4 and found["test/uniformity"] <= 0
    assert not network.classifier._forward_pre_hooks


def test_tokens():
    torch.manual_seed(0)
    network = ReferringDetector("tiny", pretrained=False, freeze=False, words=WORDS)
    data = CrowdData(ReferringScenes(train=1, val=0, test=2), None, val_fraction=0, num_workers=0)
    found = metrics_of(ReferringModule(network, RecLoss()), data)
    assert 0 <= found["test/auc"] <= 1 and 0 <= found["test/sibling_auc"] <= 1
    assert "test/label_order" not in found


def test_vectors_of_two_images_are_pooled():
    module = BlockwiseModule(Ebc("test_resnet", Bins([0, 1, "2+"]), pretrained=False), Dace("mae"))
    callback = EmbeddingMetrics()
    first, second = np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32) + 0.5
    callback._vectors = [(first, np.array([0, 1, 2])), (second, np.array([0, 1, 2]))]
    found = callback.compute(module)
    z = torch.nn.functional.normalize(torch.from_numpy(np.concatenate([first, second])), dim=1)
    squares = torch.cdist(z, z).square()
    assert found["alignment"] == pytest.approx(float(squares[torch.arange(3), torch.arange(3) + 3].mean()), rel=1e-5)
    off = ~torch.eye(6, dtype=torch.bool)
    assert found["uniformity"] == pytest.approx(math.log((-2 * squares[off]).exp().mean()), rel=1e-5)
    assert EmbeddingMetrics().compute(module) == {}


def test_scores_of_objects_and_siblings():
    module = ReferringModule(ReferringDetector("tiny", pretrained=False, freeze=False, words=WORDS), RecLoss())
    callback = EmbeddingMetrics()
    callback._vectors = [(np.ones((2, 4), np.float32), np.array([0, 0]))]
    scores = (np.array([3.0, 1.0]), np.array([0.0, 2.0]), np.array([5.0]), np.array([4.0, 6.0, 4.5, 5.0]))
    callback._scores = [tuple(each.astype(np.float32) for each in scores)]
    found = callback.compute(module)
    assert found["auc"] == 0.75 and found["sibling_auc"] == (2 + 0.5) / 4
    assert found["alignment"] == pytest.approx(0, abs=1e-6)


def test_expressions_of_different_images_are_not_alike():
    """Labels number the expressions of an image, also those of images that another process has seen."""
    module = ReferringModule(ReferringDetector("tiny", pretrained=False, freeze=False, words=WORDS), RecLoss())
    callback = EmbeddingMetrics()
    first, second = np.float32([[1, 0], [0.6, 0.8], [0, 1]]), np.float32([[-1, 0]])
    nobody = np.zeros((0, 2), np.float32), np.array([], np.int64)
    callback._vectors = [(first, np.array([0, 0, 1])), nobody, (second, np.array([0]))]
    callback._scores = [(np.ones(1, np.float32),) * 4]
    assert callback.compute(module)["alignment"] == pytest.approx(0.8)


def test_another_module_and_bad_numbers():
    with pytest.raises(InputError, match=r"EmbeddingMetrics\.per_bin"):
        EmbeddingMetrics(per_bin=0)

    class Batch:
        is_padding = False

    with pytest.raises(InputError, match="Linear has neither count bins nor image tokens"):
        EmbeddingMetrics().update(torch.nn.Linear(1, 1), Batch())
