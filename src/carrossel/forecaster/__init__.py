"""Forecaster: recurrent cells with a head, their training step, and the model as files."""
