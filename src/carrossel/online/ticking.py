"""One bar in, forecast out: a stored forecaster's network, one step per bar."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Literal, Protocol

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.numpy import load, save

from carrossel.cells.base import State
from carrossel.errors import ConfigError, ModelError
from carrossel.forecaster.heads.point import Point
from carrossel.forecaster.stored import Forecast
from carrossel.targets.base import QUANTILES
from carrossel.windows.scaling import Scaler

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from carrossel.cells.base import Cell
    from carrossel.forecaster.network import Network
    from carrossel.forecaster.stored import StoredForecaster
    from carrossel.targets.base import Values

    Floats = NDArray[np.float32]

StateKind = Literal["window", "carried"]


class Ticker:
    """A network that gets one bar at a time.

    `window`: each forecast is the one of a fresh window of `lookback` bars, as `StoredForecaster.predict` gives it. As many
    windows as the lookback has bars are under way, each a bar younger than the one before; a bar takes all of them one step
    further, one is complete and the next begins. That is as much arithmetic as the whole window, in one product instead of
    `lookback` ones after another.
    `carried`: the state goes on from bar to bar without end, as an unrolling over the whole past does.

    A bidirectional network begins to read backwards at the newest bar, so each window is read anew, and there is no state to
    carry.

    Not for two threads at once.

    Args:
        stored: its weights are copied, so later changes to them aren't seen.
        state: see above.

    Attributes:
        seen: bars in a row since the last one that was missing.

    Raises:
        ConfigError: if the state of a bidirectional network is to be carried.
    """

    def __init__(self, stored: StoredForecaster, state: StateKind = "window") -> None:
        self.stored, self.kind = stored, state
        self.lookback = stored.windows.lookback
        self.seen = 0
        self._reading: _Reading
        if not stored.network.bidirectional:
            self._reading = _Steps(stored.network, self.lookback if state == "window" else None)
        elif state == "window":
            self._reading = _Whole(stored.network, self.lookback)
        else:
            raise ConfigError(
                "online.watch.state = 'carried': a bidirectional network reads backwards from bars that aren't known yet, "
                "so it has no state to carry. Set online.watch.state to window."
            )
        linear = stored.network.head.linear
        scaler = stored.label_scaler
        further = {ndim: (-1,) + (1,) * (ndim - 2) for ndim in (2, 3)}  # [1, horizons], [1, horizons, levels]
        self._label_scalers = {
            ndim: Scaler(scaler.center.reshape(shape), scaler.scale.reshape(shape)) for ndim, shape in further.items()
        }
        self._weight, self._bias = (each.detach().numpy().copy() for each in (linear.weight, linear.bias))

    @property
    def complete(self) -> bool:
        """Whether enough bars in a row were seen for a forecast."""
        return self.seen >= self.lookback

    def tick(self, features: Floats, last_close: float) -> Forecast | None:
        """Take a bar and forecast what comes after it.

        Args:
            features: scaled, [features]; a NaN means that the bar is missing, and starts over.
            last_close: the bar's.

        Returns:
            Of one window, in the target's unit; None until `complete`. Likeliest moves aren't given.
        """
        h = self.push(features)
        if h is None or not self.complete:
            return None
        flat, close = self._weight @ h + self._bias, np.array(last_close, np.float64)
        head = self.stored.network.head
        if isinstance(head, Point):  # its numbers are the forecast: no need of torch, which takes longer than the step
            return Forecast(self._report(flat[None], close), None)
        with torch.inference_mode():
            raw = torch.from_numpy(flat).view(1, head.horizons, -1)
            point, levels = head.point(raw), head.quantiles(raw, QUANTILES)
        found = None if levels is None else self._report(levels.numpy(), close)
        return Forecast(self._report(point.numpy(), close), found)

    def push(self, features: Floats) -> Floats | None:
        """Take a bar without a forecast; gives what the head reads of the oldest window under way, None if the bar is missing."""
        if not np.isfinite(features).all():
            self.reset()
            return None
        h = self._reading.read(features, self.seen)
        self.seen += 1
        return h

    def fill(self, rows: Floats) -> None:
        """Start over and take bars without forecasts: all of them if the state is carried, else the last `lookback`.

        Args:
            rows: scaled features, oldest first, [time, features].
        """
        self.reset()
        for row in rows if self.kind == "carried" else rows[-self.lookback :]:
            self.push(row)

    def reset(self) -> None:
        """Forget all bars."""
        self.seen = 0
        for part in self._reading.parts().values():
            part[:] = 0

    def save(self) -> bytes:
        """What it takes to go on from here in another process, to the last bit (safetensors)."""
        tensors: dict[str, NDArray[np.generic]] = {"seen": np.array([self.seen], np.int64)}
        return save(tensors | self._reading.parts())

    def restore(self, state: bytes) -> None:
        """Go on from `save`.

        Raises:
            ModelError: if it is damaged or another network's.
        """
        parts = self._reading.parts()
        try:
            tensors = load(state)
            found = {name: tensors[name] for name in parts}
            seen = int(tensors["seen"][0])
        except (SafetensorError, KeyError) as error:
            raise ModelError(
                f"a stored state is damaged or another network's ({error}); start from a window."
            ) from None
        for name, part in parts.items():
            if found[name].shape != part.shape:
                raise ModelError(f"a stored state has {found[name].shape[-1]} units, the network {part.shape[-1]}.")
        for name, part in parts.items():
            part[:] = found[name]
        self.seen = seen

    def _report(self, scaled: Floats, last_close: Values) -> Values:
        scaler = self._label_scalers[scaled.ndim]
        return self.stored.target.report(scaler.inverse(scaled.astype(np.float64)), last_close)


class _Reading(Protocol):
    """How a network gets from bars to what its head reads."""

    def read(self, features: Floats, seen: int) -> Floats:
        """Take a bar; gives what the head reads of the oldest window under way, once that is complete.

        Args:
            seen: bars in a row before it.
        """

    def parts(self) -> dict[str, Floats]:
        """All that it remembers, in place: zeros are how it starts."""


class _Steps:
    """As many windows as the lookback has bars, each a bar younger than the one before: a bar is one step of each.

    Args:
        lookback: None for one state that goes on without end.
    """

    def __init__(self, network: Network, lookback: int | None) -> None:
        self.carried, self.slots = lookback is None, lookback or 1
        self.layers = [_stepping(cell, self.slots) for cell in network.cells]

    def read(self, features: Floats, seen: int) -> Floats:
        if not self.carried:
            slot = seen % self.slots
            for layer in self.layers:  # a window begins in the place of the one that was complete
                layer.h[slot] = 0
                layer.c[slot] = 0
        values: Floats = features
        for layer in self.layers:
            layer.x[:] = values
            values = layer()
        h: Floats = values[(seen + 1) % self.slots]
        return h

    def parts(self) -> dict[str, Floats]:
        return {
            f"{name}{depth}": part
            for depth, layer in enumerate(self.layers)
            for name, part in (("h", layer.h), ("c", layer.c))
        }


class _Whole:
    """The newest window's bars: the network reads all of them anew."""

    def __init__(self, network: Network, lookback: int) -> None:
        self.network = deepcopy(network).eval()
        self.rows = np.zeros((lookback, network.cells[0].input_size), np.float32)
        self.nothing = np.zeros(network.head.linear.in_features, np.float32)

    def read(self, features: Floats, seen: int) -> Floats:
        self.rows[:-1] = self.rows[1:]
        self.rows[-1] = features
        if seen + 1 < len(self.rows):
            return self.nothing
        with torch.inference_mode():
            h: Floats = self.network.summarise(torch.from_numpy(self.rows)[None])[0].numpy()
        return h

    def parts(self) -> dict[str, Floats]:
        return {"rows": self.rows}


class _Stepping(Protocol):
    """A cell with states of several sequences in place: write `x`, call it, read `h`."""

    x: Floats
    h: Floats
    c: Floats

    def __call__(self) -> Floats: ...


def _stepping(cell: Cell, sequences: int) -> _Stepping:
    try:
        from carrossel.cells.kernels.stepping import Stepper  # imports numba
    except ImportError:
        return _Loop(cell, sequences)
    try:
        return Stepper(cell, sequences)
    except ConfigError:
        return _Loop(cell, sequences)


class _Loop:
    """The cell's own equations, for cells without gate maths."""

    def __init__(self, cell: Cell, sequences: int) -> None:
        self.cell = cell
        state = cell.initial_state(sequences)
        self.x = np.zeros((sequences, cell.input_size), np.float32)
        self.h = state.h.detach().numpy()
        self.c = np.zeros((sequences, 0), np.float32) if state.c is None else state.c.detach().numpy()

    def __call__(self) -> Floats:
        with torch.inference_mode():
            before = State(torch.from_numpy(self.h), torch.from_numpy(self.c) if self.cell.has_memory else None)
            after = self.cell.advance(self.cell.project(torch.from_numpy(self.x)), before)
            self.h[:] = after.h.numpy()
            if after.c is not None:
                self.c[:] = after.c.numpy()
        return self.h
