"""Image-text models that tell how many objects an image shows by comparing captions (Count-CLIP, arXiv 2302.12066)."""
