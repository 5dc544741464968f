"""The append-only store of a live source's bars: what was learned when, and what is still missing."""

from carrossel.bars.archive.archive import Archive
from carrossel.bars.archive.visit import Update

__all__ = ["Archive", "Update"]
