"""Enhanced blockwise classification without CLIP: the same head on other backbones (arXiv 2403.09281)."""
