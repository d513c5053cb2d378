"""Warnings about files that are read again and again, such as those of a training."""

import logging
from functools import lru_cache


@lru_cache(maxsize=4096)
def warn_once(logger: logging.Logger, message: str) -> None:
    """Log a warning, unless this process has done so before."""
    logger.warning("%s", message)
