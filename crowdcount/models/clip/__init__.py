"""Parts of CLIP shared by families: image towers, their weights, numbers in words."""
