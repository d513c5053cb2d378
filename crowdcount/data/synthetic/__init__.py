"""Generated scenes."""

from crowdcount.lazy import lazy_names

__getattr__ = lazy_names(__name__, {"scenes": ("Synthetic",), "referring": ("ReferringScenes",)})
