"""CLIP-EBC: blockwise classification of counts with CLIP text prompts as the classifier (arXiv 2403.09281)."""
