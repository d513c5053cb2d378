"""Warnings about what is looked at again and again: files of a training, splits, zones of each frame."""

import logging
from functools import lru_cache


@lru_cache(maxsize=4096)
def warn_once(logger: logging.Logger, message: str) -> None:
    """Log a warning, unless this process has done so before."""
    logger.warning("%s", message)
