"""Data sets and the way from a record to a batch."""
