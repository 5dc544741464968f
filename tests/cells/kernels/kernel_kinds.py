"""The cells that have gate maths, and one cell for each of them."""

from __future__ import annotations

from carrossel.cells import registry

FORMS = {kind: (cls := registry.load(kind))(1, cls.Config()).fast() for kind in registry.kinds()}
KINDS = [kind for kind, form in FORMS.items() if form is not None]
DISTINCT = sorted({id(form.maths): kind for kind, form in reversed(FORMS.items()) if form is not None}.values())
"""Cells that share their gate maths with another are the same code in the kernels: one of them stands for all."""
