"""Counting in videos: frames in, counts over time and annotated frames out."""
