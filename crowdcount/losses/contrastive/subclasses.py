"""Clusters inside classes, so that a frequent class does not outweigh the others (SBCL)."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from crowdcount.checks import check_number
from crowdcount.losses.contrastive.scores import unit

_LEAST = 10  # members of a subclass, whatever the smallest class is
_SHIFT = 10  # added to a class's size inside the logarithm


def cluster_numbers(sizes: Sequence[int]) -> list[int]:
    """Return in how many clusters each class is split: as often as the smallest one, or 10, fits into it.

    At least 1. Hou et al., "Subclass-balancing Contrastive Learning for Long-tailed Recognition", arXiv 2306.15925.

    Args:
        sizes: members of each class.
    """
    least = max(min((size for size in sizes if size), default=0), _LEAST)
    return [max(size // least, 1) for size in sizes]


def cosine_kmeans(vectors: Tensor, centres: Tensor, *, iterations: int = 100) -> tuple[Tensor, Tensor]:
    """Return the cluster of each vector, (n,) int64, and the clusters' centres, (k, d); until nothing changes.

    Args:
        vectors: (n, d) of any length.
        centres: (k, d) at the start; a cluster that loses all its members keeps its centre.
        iterations: at most.

    Raises:
        InputError: iterations below 1.
    """
    check_number("cosine_kmeans.iterations", iterations, 1)
    vectors = unit(vectors)
    centres = centres.to(vectors.dtype)
    members = (vectors @ unit(centres).T).argmax(dim=1)
    for _ in range(iterations):
        sums = torch.zeros_like(centres).index_add(0, members, vectors)
        number = members.bincount(minlength=len(centres))[:, None]
        centres = torch.where(number > 0, sums / number.clamp(min=1), centres)
        nearest = (vectors @ unit(centres).T).argmax(dim=1)
        if (nearest == members).all():
            break
        members = nearest
    return members, centres


def class_temperatures(vectors: Tensor, labels: Tensor, numbers: Sequence[int], *, temperature: float = 0.1) -> Tensor:
    """Return SBCL's temperature of each class's second term, (K,): tau D_c / mean(D), or tau for an unsplit class.

    D_c is the mean distance of a class's members from their mean over log(n_c + 10), clipped to the 20 and 80
    percentiles of all classes first: the wider a class, the higher its temperature.

    Args:
        vectors: (n, d) of any length.
        labels: (n,) int64, the class of each.
        numbers: clusters of each of K classes.
        temperature: tau.

    Raises:
        InputError: a temperature that is not a positive number.
    """
    check_number("class_temperatures.temperature", temperature, 0, above=True)
    vectors = unit(vectors)
    spreads = torch.zeros(len(numbers), dtype=vectors.dtype, device=vectors.device)
    present = labels.bincount(minlength=len(numbers)) > 0
    for label in present.nonzero()[:, 0].tolist():
        members = vectors[labels == label]
        spreads[label] = (members - members.mean(dim=0)).norm(dim=1).mean() / math.log(len(members) + _SHIFT)
    spreads_there = spreads[present]
    low, high = spreads_there.quantile(spreads.new_tensor([0.2, 0.8]))
    clipped = spreads.clamp(low, high)
    split = torch.tensor(numbers, device=vectors.device) > 1
    mean = spreads_there.clamp(low, high).mean()
    return torch.where(split & (mean > 0), temperature * clipped / torch.where(mean > 0, mean, 1), temperature)


class Subclasses(nn.Module):
    """Recent embeddings of each class and their clusters; all of it is in the state dict.

    A class has as many clusters as its embeddings here are times those of the class with the fewest, see
    `cluster_numbers`; they are found anew after every `refresh` calls in training. Until then a class is one cluster.

    Args:
        classes: how many classes there are, from 0.
        width: of the embeddings.
        capacity: embeddings kept of a class, the latest.
        most: clusters of a class, at most.
        refresh: calls between two clusterings.
        temperature: of the first term, and of the second in an unsplit class.

    Raises:
        InputError: a number below 1.
    """

    bank: Tensor
    filled: Tensor
    calls: Tensor
    centres: Tensor
    numbers: Tensor
    temperatures: Tensor

    def __init__(
        self,
        classes: int,
        width: int,
        *,
        capacity: int = 256,
        most: int = 8,
        refresh: int = 100,
        temperature: float = 0.1,
    ) -> None:
        super().__init__()
        numbers = {"classes": classes, "width": width, "capacity": capacity, "most": most, "refresh": refresh}
        for key, value in numbers.items():
            check_number(f"Subclasses.{key}", value, 1)
        self.refresh, self.temperature = refresh, temperature
        self.register_buffer("bank", torch.zeros(classes, capacity, width))
        self.register_buffer("filled", torch.zeros(classes, dtype=torch.int64))  # ever; the next place modulo capacity
        self.register_buffer("calls", torch.zeros((), dtype=torch.int64))
        self.register_buffer("centres", torch.zeros(classes, most, width))
        self.register_buffer("numbers", torch.ones(classes, dtype=torch.int64))
        self.register_buffer("temperatures", torch.full((classes,), float(temperature)))

    @torch.no_grad()
    def forward(self, z: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Return the subclass of each embedding, (A,) int64, and the temperature of its class, (A,).

        Args:
            z: (A, d) of any length.
            labels: (A,) int64, the class of each.
        """
        z = unit(z.detach()).to(self.bank.dtype)
        if self.training:
            self._remember(z, labels)
            self.calls += 1
            if int(self.calls) % self.refresh == 0:
                self._cluster()
        most = self.centres.shape[1]
        similarity = torch.einsum("ad,akd->ak", z, unit(self.centres)[labels])
        absent = torch.arange(most, device=z.device) >= self.numbers[labels][:, None]
        return labels * most + similarity.masked_fill(absent, -torch.inf).argmax(dim=1), self.temperatures[labels]

    def _remember(self, z: Tensor, labels: Tensor) -> None:
        capacity = self.bank.shape[1]
        for label in (labels.bincount() > 0).nonzero()[:, 0].tolist():
            new = z[labels == label][-capacity:]
            start = int(self.filled[label])
            self.bank[label, (start + torch.arange(len(new), device=z.device)) % capacity] = new
            self.filled[label] += len(new)

    def _cluster(self) -> None:
        capacity, most = self.bank.shape[1], self.centres.shape[1]
        sizes = self.filled.clamp(max=capacity).tolist()
        numbers = [min(number, most) for number in cluster_numbers(sizes)]
        members = [self.bank[label, :size] for label, size in enumerate(sizes)]
        for label, number in enumerate(numbers):
            if number > 1:
                start = members[label][torch.randperm(sizes[label])[:number].to(self.bank.device)]
                self.centres[label, :number] = cosine_kmeans(members[label], start)[1]
        labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(self.bank.device)
        if len(labels):
            temperatures = class_temperatures(torch.cat(members), labels, numbers, temperature=self.temperature)
            self.temperatures.copy_(temperatures)
        self.numbers.copy_(torch.tensor(numbers))
