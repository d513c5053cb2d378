"""Contrastive losses as functions of scores and masks.

Mining, mixing, temperatures and clusters, which are random or have a state, make scores, masks or temperatures for
them. `SupCon` is the loss that a configuration of referring expression counting names.
"""

from crowdcount.losses.contrastive.geometry import alignment, attraction, repulsion, tolerance, uniformity
from crowdcount.losses.contrastive.negatives import hardest
from crowdcount.losses.contrastive.ranking import auc, mann_whitney, mean_gap
from crowdcount.losses.contrastive.scores import cosines, gated_scores
from crowdcount.losses.contrastive.softmax import contrast
from crowdcount.losses.contrastive.sorting import group_ordering, soft_sort
from crowdcount.losses.contrastive.supcon import ContrastiveLoss, SupCon, supcon_floor
from crowdcount.losses.contrastive.views import multi_view
from crowdcount.losses.contrastive.weights import dclw_pull, label_distance_weight, ordinal_target, similarity_target

__all__ = [
    "ContrastiveLoss",
    "SupCon",
    "alignment",
    "attraction",
    "auc",
    "contrast",
    "cosines",
    "dclw_pull",
    "gated_scores",
    "group_ordering",
    "hardest",
    "label_distance_weight",
    "mann_whitney",
    "mean_gap",
    "multi_view",
    "ordinal_target",
    "repulsion",
    "similarity_target",
    "soft_sort",
    "supcon_floor",
    "tolerance",
    "uniformity",
]
