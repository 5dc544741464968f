"""Serving over HTTP: raw bars in, forecast and interval out, without torch."""
