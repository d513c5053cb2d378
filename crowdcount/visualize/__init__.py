"""Drawings of densities and points with captions, as arrays; no window is opened."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.visualize.captions import caption, count_text, interval_text, panel
    from crowdcount.visualize.density import (
        draw_points,
        error_map,
        expression_panel,
        heat_map,
        image_bytes,
        overlay,
        scale_top,
        smooth_density,
        true_density,
    )

__all__ = [
    "caption",
    "count_text",
    "draw_points",
    "error_map",
    "expression_panel",
    "heat_map",
    "image_bytes",
    "interval_text",
    "overlay",
    "panel",
    "scale_top",
    "smooth_density",
    "true_density",
]

__getattr__ = lazy_names(
    __name__,
    {
        "captions": (
            "caption",
            "count_text",
            "interval_text",
            "panel",
        ),
        "density": (
            "draw_points",
            "error_map",
            "expression_panel",
            "heat_map",
            "image_bytes",
            "overlay",
            "scale_top",
            "smooth_density",
            "true_density",
        ),
    },
)
