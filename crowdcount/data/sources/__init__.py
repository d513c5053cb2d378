"""Data sets: one adapter each."""
