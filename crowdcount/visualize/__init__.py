"""Images of densities, points, zones and text; never a window."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.visualize.captions import caption, count_text, panel
    from crowdcount.visualize.density import (
        density_picture,
        draw_points,
        error_map,
        expression_panel,
        heat_map,
        overlay,
        png_bytes,
        resize_density,
        scale_top,
        smooth_density,
        true_density,
    )
    from crowdcount.visualize.zones import draw_zones

__all__ = [
    "caption",
    "count_text",
    "density_picture",
    "draw_points",
    "draw_zones",
    "error_map",
    "expression_panel",
    "heat_map",
    "overlay",
    "panel",
    "png_bytes",
    "resize_density",
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
            "panel",
        ),
        "density": (
            "density_picture",
            "draw_points",
            "error_map",
            "expression_panel",
            "heat_map",
            "overlay",
            "png_bytes",
            "resize_density",
            "scale_top",
            "smooth_density",
            "true_density",
        ),
        "zones": ("draw_zones",),
    },
)
