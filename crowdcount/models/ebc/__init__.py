"""EBC: enhanced blockwise classification without CLIP, on image backbones (arXiv 2403.09281)."""
