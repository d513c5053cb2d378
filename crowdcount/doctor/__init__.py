"""The data set doctor: what is missing, damaged, doubled or different from what was published."""

from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.examine import examine
from crowdcount.doctor.finding import CHECKS, LEVELS, Finding, Level
from crowdcount.doctor.report import Report

__all__ = ["CHECKS", "LEVELS", "DataSet", "Finding", "Level", "Report", "examine"]
