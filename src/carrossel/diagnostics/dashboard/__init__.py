"""One training at a glance."""
