"""Data set doctor: search for missing, damaged and duplicate files and for differences from published totals."""

from crowdcount.doctor.datasets import DataSet
from crowdcount.doctor.examine import examine
from crowdcount.doctor.finding import CHECKS, LEVELS, Finding, Level
from crowdcount.doctor.report import Report

__all__ = ["CHECKS", "LEVELS", "DataSet", "Finding", "Level", "Report", "examine"]
