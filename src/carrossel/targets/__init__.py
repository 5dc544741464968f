"""Targets: what is forecast. One file adds one kind."""
