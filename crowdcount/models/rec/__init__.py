"""Referring expression counting: centroid detection on Grounding DINO, with contrastive heads."""
