"""Generated scenes."""

from crowdcount.lazy import lazy_names

_NAMES = {"scenes": ("Synthetic",), "referring": ("ReferringScenes",), "walkers": ("Walkers",)}

__getattr__ = lazy_names(__name__, _NAMES)
