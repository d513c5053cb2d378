"""One file for each command of tools/benchmark.py."""
