"""One step at a time, of one sequence or of several side by side: for a loop that gets one bar a tick."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from carrossel.cells.base import State
from carrossel.cells.kernels import engine
from carrossel.cells.kernels.layout import Layout
from carrossel.errors import ConfigError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.cells.base import Cell


class Stepper:
    """A cell with its weights packed and its state in place; a step allocates nothing.

    Write the features into `x`, call it, read `h`. Not for two threads at once.

    Args:
        cell: of float32 on the CPU; its weights are copied, so later changes to them aren't seen.
        sequences: how many step together; each array then has their number as its first dimension.

    Attributes:
        x: features of the step to come, [input_size].
        h: hidden state after the last step, [hidden].
        c: memory after the last step, [hidden]; [0] for cells that keep none.

    Raises:
        ConfigError: if the cell has no gate maths or has options that these don't know, or isn't float32 on the CPU.
    """

    def __init__(self, cell: Cell, sequences: int | None = None) -> None:
        with torch.no_grad():
            form = None if cell.needs_loop else cell.fast()
        if form is None or any(p.dtype != torch.float32 or p.device.type != "cpu" for p in cell.parameters()):
            raise ConfigError(
                f"a {cell.kind} cell steps only as float32 on the CPU, with gate maths and without options that act inside "
                "a step; use cell.advance."
            )
        maths, hidden = form.maths, cell.hidden_size
        layout = Layout(maths, 1, sequences or 1, cell.input_size, hidden, 1, kept=False)
        first = () if sequences is None else (sequences,)
        self.x = np.zeros((*first, cell.input_size), np.float32)
        self.h = np.zeros((*first, hidden), np.float32)
        self.c = np.zeros((*first, hidden if maths.carried else 0), np.float32)
        self._buffers = tuple(np.zeros(each, np.float32) for each in (layout.states, layout.activations, layout.packed))
        self._plan = layout.plan()
        run, finish = engine.forward_phases(maths)
        h, c = self.h.ctypes.data, self.c.ctypes.data
        self._plan.set(**engine.shared_functions(), forward=run, finish=finish)
        self._plan.set(**layout.place(*(each.ctypes.data for each in self._buffers)))
        self._plan.set(
            x=self.x.ctypes.data,
            x_row=cell.input_size,
            h_first=h,
            m_first=c if maths.carried else 0,
            h_last=h,
            m_last=c,
        )
        weights = (form.weight_x, form.weight_h, form.bias, form.weight_m, form.vectors)
        dense = [None if each is None else each.detach().contiguous() for each in weights]
        addresses = [0 if each is None else each.data_ptr() for each in dense]
        engine.pack_forward()(self._plan.address, *addresses)
        self._run, self._address, self._blocks = engine.run_forward(), self._plan.address, layout.blocks

    def __call__(self) -> NDArray[np.float32]:
        """One step; gives `h`, which the next step overwrites."""
        self._run(self._address, 0, self._blocks, 0)
        return self.h

    def set_state(self, state: State) -> None:
        """Go on from a state of one sequence, [1, hidden]."""
        self.h[:] = state.h[0].numpy()
        if len(self.c):
            self.c[:] = state.memory[0].numpy()

    def state(self) -> State:
        """A copy of the state, [1, hidden]."""
        h, c = (torch.from_numpy(each.copy())[None] for each in (self.h, self.c))
        return State(h, c if len(self.c) else None)
