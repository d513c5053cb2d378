"""Evaluation of a model on a split: results of the images, summary, output files and records in the index."""

from crowdcount.evaluation.harness import ImageResult, Scoring, evaluate
from crowdcount.evaluation.summary import Tables, summarise
from crowdcount.evaluation.text import summary_text
from crowdcount.inference.peaks import density_peaks

__all__ = ["ImageResult", "Scoring", "Tables", "density_peaks", "evaluate", "summarise", "summary_text"]
