"""Pieces of CLIP that families share: image towers, their weights, numbers in words."""
