"""Exported models: counting with onnxruntime or OpenVINO, without torch."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.runtimes.description import Description
    from crowdcount.runtimes.predictor import RuntimePredictor

__all__ = ["Description", "RuntimePredictor"]

__getattr__ = lazy_names(__name__, {"description": ("Description",), "predictor": ("RuntimePredictor",)})
