"""Hochreiter's experiment: what the size of the recurrent weights does to an error that travels back through time."""
