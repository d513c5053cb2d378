"""Weights: the index, downloads, the cache, and reading checkpoints without running code in them."""
