"""Losses that more than one family uses."""
