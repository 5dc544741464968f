"""Recurrent cells: one file a kind, found by its name.

`registry.load("lstm")` imports `cells/lstm.py` and nothing of the other kinds. What isn't a cell lies in a folder:
`unrolling` runs a cell along a sequence, `initialisation` fills fresh weights.
"""

from carrossel.cells.base import Cell, CellConfig, FusedForm, MemoryConfig, State, registry

__all__ = ["Cell", "CellConfig", "FusedForm", "MemoryConfig", "State", "registry"]
