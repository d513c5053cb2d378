"""Recorded reference numbers of contrastive losses, and plain loops to compare with."""

import functools
from pathlib import Path

import numpy as np
import torch

FOLDER = Path(__file__).resolve().parents[1] / "golden" / "contrastive"


class Case(dict):
    """The recorded values of one case: arrays as tensors, numbers and words as such."""

    @property
    def z(self):
        return self["z"].clone().requires_grad_()

    def masks(self):
        return self["pos_mask"], self["neg_mask"]


def _value(array):
    return array.item() if array.ndim == 0 else torch.from_numpy(array)


@functools.cache
def recorded(name):
    with np.load(FOLDER / f"contrastive_{name}.npz") as arrays:
        return [
            Case({key[len(f"c{k}_") :]: _value(arrays[key]) for key in arrays if key.startswith(f"c{k}_")})
            for k in range(int(arrays["n"]))
        ]


def unit(z):
    return z / z.norm(dim=-1, keepdim=True)


def gradient(value, leaf):
    return torch.autograd.grad(value, leaf, retain_graph=True)[0]


def assert_recorded(case, value, leaf, *, loss="loss", grad="grad_z", tolerance=1e-9):
    """The value and its gradient at the leaf are those recorded."""
    expected = torch.as_tensor(case[loss], dtype=torch.float64)
    torch.testing.assert_close(value.detach(), expected, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(gradient(value, leaf), case[grad], rtol=tolerance, atol=tolerance)


def random_pairs(seed=0, anchors=7, references=11):
    """Random scores and masks with ignored pairs; one anchor lacks positives, one negatives, one both."""
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(anchors, references, generator=generator, dtype=torch.float64)
    kind = torch.randint(3, scores.shape, generator=generator)  # positive, negative, neither
    kind[:, 0], kind[:, 1] = 0, 1
    kind[0, kind[0] == 0] = 2
    kind[1, kind[1] == 1] = 2
    kind[2] = 2
    return scores.requires_grad_(), kind == 0, kind == 1


def assert_ignored(loss, scores, pos, neg):
    """Pairs in neither mask have no gradient and change nothing, however high their score is."""
    ignored = ~(pos | neg)
    assert ignored.any()
    value = loss(scores, pos, neg)
    slopes = gradient(value, scores)
    assert (slopes[ignored] == 0).all()
    assert (slopes != 0).any()
    raised = scores.detach().masked_fill(ignored, 1e3)
    torch.testing.assert_close(loss(raised, pos, neg), value.detach(), rtol=1e-12, atol=1e-12)
