"""Early stopping on the validation part."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.baselines.base import training_origins

if TYPE_CHECKING:
    from carrossel.windows.splitting import Rows
    from carrossel.windows.tensor import WindowedSeries


class Patience:
    """Counts epochs since the loss was lowest.

    Args:
        epochs: without a lower loss, after which training ends.
    """

    def __init__(self, epochs: int) -> None:
        self.epochs = epochs
        self.lowest = np.inf
        self.since = 0

    def improves(self, loss: float) -> bool:
        """Take note of an epoch's loss; whether it is the lowest so far."""
        better = loss < self.lowest
        self.lowest, self.since = (loss, 0) if better else (self.lowest, self.since + 1)
        return better

    @property
    def ended(self) -> bool:
        """Whether training has waited long enough."""
        return self.since >= self.epochs


def stopping_origins(data: WindowedSeries) -> Rows:
    """Validation origins with known labels; the training ones where a split has no validation part."""
    origins = data.split.validation
    origins = origins[np.isfinite(data.label[origins]).all(axis=1)]
    return origins if len(origins) else training_origins(data)
