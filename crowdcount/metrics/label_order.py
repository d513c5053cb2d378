"""Rank correlation of embeddings with the order of their labels."""

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr


def label_rank_correlation(
    vectors: NDArray[np.floating], labels: NDArray[np.integer], values: NDArray[np.floating]
) -> float:
    """Return Spearman's correlation of the similarity of classes with the nearness of their values, -1 to 1.

    Each pair of classes gives the cosine similarity of their mean unit vectors and minus the distance of their values:
    1 where classes are the more alike, the nearer their values are. NaN with fewer than three classes.

    Args:
        vectors: (N, d) of any length but 0.
        labels: (N,) class of each.
        values: (K,) the number that each class stands for, for instance the anchor of a count bin.

    Example:
        >>> import numpy as np
        >>> angles = np.array([0.0, 0.5, 1.5])
        >>> vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1)
        >>> round(label_rank_correlation(vectors, np.array([0, 1, 2]), np.array([0.0, 1.0, 4.0])), 3)
        1.0
    """
    present = np.unique(labels)
    if len(present) < 3:
        return float("nan")
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    means = np.stack([units[labels == label].mean(axis=0) for label in present])
    means /= np.linalg.norm(means, axis=1, keepdims=True).clip(min=1e-12)
    first, second = np.triu_indices(len(present), k=1)
    nearness = -np.abs(values[present[first]] - values[present[second]])
    return float(spearmanr((means[first] * means[second]).sum(axis=1), nearness).statistic)
