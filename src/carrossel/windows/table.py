"""The lecture's table X1 … Xn → Y, for looking at: training gathers windows without ever building it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from carrossel.windows.splitting import complete_origins

if TYPE_CHECKING:
    from numpy.typing import NDArray


def window_table(values: NDArray[np.float64], lookback: int, horizon: int = 1, stride: int = 1) -> pd.DataFrame:
    """One row per window of a single series.

    Args:
        values: shape [time]; windows that touch a NaN are left out.

    Returns:
        Columns X1 (oldest) … Xn and Y, the value `horizon` steps after Xn; indexed by the row of Xn.
    """
    origins = complete_origins(np.isfinite(values), lookback, horizon)[::stride]
    columns = {f"X{k + 1}": values[origins - lookback + 1 + k] for k in range(lookback)}
    return pd.DataFrame({**columns, "Y": values[origins + horizon]}, index=pd.Index(origins, name="origin"))
