"""Evaluation of a model on a split: results of images, their summary, files of both, and the index of weights."""
