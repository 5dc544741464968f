"""Compile everything once, before work that is measured or shared between processes."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from carrossel.cells import registry
from carrossel.cells.kernels import engine

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from carrossel.cells.kernels.form import GateMaths


def warm(kinds: Sequence[str] | None = None, report: Callable[[str], None] = print) -> None:
    """Compile the engine and cells' gate maths, or load them from the disk cache.

    Args:
        kinds: of cells; None for all.
        report: gets one line before each part.
    """
    kinds = list(registry.kinds() if kinds is None else kinds)
    parts: list[tuple[str, Callable[[], object]]] = [
        ("products", engine.shared_functions),
        ("forward pass", lambda: (engine.pack_forward(), engine.run_forward())),
        ("backward pass", lambda: (engine.pack_backward(), engine.run_backward(), engine.unpack_gradients())),
    ]
    for kind in kinds:
        cls = registry.load(kind)
        form = cls(1, cls.Config(hidden_size=1)).fast()
        if form is not None:
            parts.append((kind, partial(_compile_cell, form.maths)))
    for number, (name, compile_part) in enumerate(parts, start=1):
        report(f"cells: kernels {number} of {len(parts)}: {name}")
        compile_part()


def _compile_cell(maths: GateMaths) -> None:
    engine.forward_phases(maths)
    engine.backward_phases(maths)
