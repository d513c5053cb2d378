"""Benchmarks: one module for each command of `crowdcount benchmark`."""
