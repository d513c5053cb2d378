"""Counting in data sets of any size: folders, lists, Parquet tables and object stores; see `count_dataset`."""

from typing import TYPE_CHECKING

from crowdcount.lazy import lazy_names

if TYPE_CHECKING:
    from crowdcount.batch.dataset import count_dataset
    from crowdcount.batch.report import DatasetReport, Progress

__all__ = ["DatasetReport", "Progress", "count_dataset"]

__getattr__ = lazy_names(__name__, {"dataset": ("count_dataset",), "report": ("DatasetReport", "Progress")})
