"""Blockwise classification of counts (EBC, arXiv 2403.09281): bins, decoding, loss."""
