"""MLflow model from code: raw OHLCV bars in, forecasts out, scaler included, no pickle.

MLflow copies this file into each logged model and runs it to load one; nothing else imports it.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel

if TYPE_CHECKING:
    from carrossel.forecaster.stored import StoredForecaster


class ServedForecaster(PythonModel):
    """A stored forecaster behind MLflow's pyfunc interface."""

    forecaster: StoredForecaster

    def load_context(self, context: Any) -> None:
        """Read weights and manifest from the model's artifacts."""
        from carrossel.forecaster.stored import load

        self.forecaster = load(Path(context.artifacts["model"]))

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:  # noqa: ARG002
        """Forecast what comes after each complete window of the given bars.

        Args:
            context: MLflow's; unused, the artifacts are loaded.
            model_input: columns timestamp (ISO 8601 string or timestamp, UTC if it says nothing), open, high, low,
                close, volume (may be absent where the source has none); at least lookback + 1 rows, oldest first.
            params: unused.

        Returns:
            One row per window and horizon: origin (ISO 8601 string of its last bar), horizon (bars), last_close, forecast (a
            price, or the target's own unit), and quantiles and likeliest moves where the model has them; see
            `StoredForecaster.predict`.
        """
        bars = model_input.assign(timestamp=pd.to_datetime(model_input["timestamp"], utc=True))
        if "volume" not in bars:
            bars["volume"] = float("nan")
        forecasts = self.forecaster.predict(bars)
        return forecasts.assign(origin=[stamp.isoformat() for stamp in forecasts["origin"]])


set_model(ServedForecaster())
