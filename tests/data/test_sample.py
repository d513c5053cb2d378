"""Records of images and points."""

import numpy as np

from crowdcount.data.sample import Expression, Record
from crowdcount.geometry import as_points
from crowdcount.images.mask import IgnoreMask

MASK = IgnoreMask(np.array([[True, False, False], [True, True, False]]))


def test_people_under_a_mask_are_left_out():
    """With their boxes, and in every expression; those outside the image stay, as they count in papers."""
    points = as_points([(0.5, 0.5), (1.5, 0.5), (1.5, 1.5), (-1, 1.5), (2.9, 1.9)])
    record = Record("a", lambda: None, points, boxes=np.arange(20, dtype=np.float32).reshape(5, 4))
    kept = record.outside(MASK)
    assert kept.points.tolist() == points[[1, 3, 4]].tolist() and kept.boxes[:, 0].tolist() == [4, 12, 16]
    assert record.count == 5 and record.outside(None) is record
    referring = Record.referring("b", lambda: None, [Expression("red", points[:2]), Expression("blue", points[2:3])])
    assert [each.points.tolist() for each in referring.outside(MASK).expressions] == [[[1.5, 0.5]], []]
    assert referring.outside(MASK).count == 1
    withheld = Record("c", lambda: None, None)
    assert withheld.outside(MASK) is withheld
