"""Adapters of the data sets."""
