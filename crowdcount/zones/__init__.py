"""Regions of interest: polygons and masks on an image, and the number of people in each."""

from crowdcount.zones.counts import point_counts, zone_counts, zone_variances
from crowdcount.zones.drawing import draw_zones
from crowdcount.zones.intervals import hash_area, zone_intervals
from crowdcount.zones.read import parse_zones, read_zones
from crowdcount.zones.zone import Zone

__all__ = [
    "Zone",
    "draw_zones",
    "hash_area",
    "parse_zones",
    "point_counts",
    "read_zones",
    "zone_counts",
    "zone_intervals",
    "zone_variances",
]
