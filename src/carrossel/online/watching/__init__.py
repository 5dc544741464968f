"""The loop over new bars: score what a bar answers, look for drift, predict from it, commit; one bar, one transaction."""

from carrossel.online.watching.command import watch

__all__ = ["watch"]
