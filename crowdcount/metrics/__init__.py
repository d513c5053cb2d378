"""Metrics of counts and points: pure functions, and classes that gather their inputs over epochs and processes."""

from crowdcount.metrics.bootstrap import bootstrap, count_intervals, score_intervals
from crowdcount.metrics.breakdown import NWPU_EDGES, crowd_level, crowd_levels, errors_by, nwpu_mean_mae
from crowdcount.metrics.count import CountErrors, count_errors
from crowdcount.metrics.game import density_cells, game, point_cells
from crowdcount.metrics.localisation import Localisation, localisation_scores, match_points, predicted_radius
from crowdcount.metrics.macro import MacroNae, macro_nae
from crowdcount.metrics.nwpu_localisation import Heads, boxes_to_heads, hits, largest_matching, level_hits, pairs_within

__all__ = [
    "NWPU_EDGES",
    "CountErrors",
    "Heads",
    "Localisation",
    "MacroNae",
    "bootstrap",
    "boxes_to_heads",
    "count_errors",
    "count_intervals",
    "crowd_level",
    "crowd_levels",
    "density_cells",
    "errors_by",
    "game",
    "hits",
    "largest_matching",
    "level_hits",
    "localisation_scores",
    "macro_nae",
    "match_points",
    "nwpu_mean_mae",
    "pairs_within",
    "point_cells",
    "predicted_radius",
    "score_intervals",
]
