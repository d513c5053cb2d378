"""Contrastive losses as functions of scores and masks.

Mining, mixing, temperatures and clusters, which are random or have a state, make scores, masks or temperatures for
them. `ContrastiveTerm` is what a configuration lists; `SupCon` the loss inside of `crowdcount.models.rec.loss.RecLoss`.
"""

from crowdcount.losses.contrastive.geometry import (
    alignment,
    attraction,
    distance_shares,
    repulsion,
    tolerance,
    uniformity,
)
from crowdcount.losses.contrastive.margin import euclidean, margin_contrast, mixed_distances
from crowdcount.losses.contrastive.mixtures import Mixtures, mix_hardest, mix_ordinal, mixture
from crowdcount.losses.contrastive.negatives import hardest
from crowdcount.losses.contrastive.pairs import Pairs, class_pairs, draw_per_class
from crowdcount.losses.contrastive.ranking import auc, mann_whitney, mean_gap
from crowdcount.losses.contrastive.scores import cosines, gated_scores
from crowdcount.losses.contrastive.softmax import contrast
from crowdcount.losses.contrastive.sorting import group_ordering, soft_sort
from crowdcount.losses.contrastive.subclasses import Subclasses, class_temperatures, cluster_numbers, cosine_kmeans
from crowdcount.losses.contrastive.supcon import ContrastiveLoss, SupCon, supcon_floor
from crowdcount.losses.contrastive.temperatures import (
    IdSlots,
    IndividualTemperature,
    PairTemperature,
    temperature_penalty,
)
from crowdcount.losses.contrastive.term import ContrastiveTerm
from crowdcount.losses.contrastive.views import multi_view
from crowdcount.losses.contrastive.weights import dclw_pull, label_distance_weight, ordinal_target, similarity_target

__all__ = [
    "ContrastiveLoss",
    "ContrastiveTerm",
    "IdSlots",
    "IndividualTemperature",
    "Mixtures",
    "PairTemperature",
    "Pairs",
    "Subclasses",
    "SupCon",
    "alignment",
    "attraction",
    "auc",
    "class_pairs",
    "class_temperatures",
    "cluster_numbers",
    "contrast",
    "cosine_kmeans",
    "cosines",
    "dclw_pull",
    "distance_shares",
    "draw_per_class",
    "euclidean",
    "gated_scores",
    "group_ordering",
    "hardest",
    "label_distance_weight",
    "mann_whitney",
    "margin_contrast",
    "mean_gap",
    "mix_hardest",
    "mix_ordinal",
    "mixed_distances",
    "mixture",
    "multi_view",
    "ordinal_target",
    "repulsion",
    "similarity_target",
    "soft_sort",
    "supcon_floor",
    "temperature_penalty",
    "tolerance",
    "uniformity",
]
