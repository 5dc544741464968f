"""Tuning: a study of one cell's configuration, resumable."""
