"""Serving over HTTP: raw bars in, forecast and interval out, without torch."""

COUNTS = "PROMETHEUS_MULTIPROC_DIR"
"""Variable with the folder in which the workers of one server count together; Prometheus' client reads it when it is imported."""
