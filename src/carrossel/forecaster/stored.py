"""A forecaster as files: weights in safetensors, everything else in a manifest. No pickle."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from carrossel import cells
from carrossel.config import validate
from carrossel.errors import ModelError, SeriesTooShort
from carrossel.files import replacing, write_json
from carrossel.forecaster.network import Network
from carrossel.targets.base import TargetConfig
from carrossel.targets.base import registry as target_registry
from carrossel.windows.config import Windows
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import complete_origins
from carrossel.windows.tensor import scale_features, slide

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.targets.base import Target

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
_BATCH = 2048


@dataclass(frozen=True)
class StoredForecaster:
    """A trained network with all it needs to turn raw bars into a price forecast."""

    network: Network
    windows: Windows
    target: Target
    feature_scaler: Scaler
    label_scaler: Scaler
    manifest: dict[str, Any]

    def predict(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Forecast the close `horizon` bars after each complete window.

        Args:
            bars: columns timestamp, open, high, low, close, volume, oldest first, one row per interval; at least
                `lookback + 1` rows (a return needs the bar before).

        Returns:
            One row per window: origin (timestamp of its last bar), last_close, forecast (price).

        Raises:
            SeriesTooShort: if no complete window fits.
            ModelError: if a column is missing or the bars aren't in order.
        """
        if absent := {"timestamp", "open", "high", "low", "close", "volume"} - set(bars):
            raise ModelError(f"bars lack the columns {', '.join(sorted(absent))}.")
        bars = bars.assign(timestamp=pd.to_datetime(bars["timestamp"], utc=True).dt.as_unit("ns"))
        if not (bars["timestamp"].is_monotonic_increasing and bars["timestamp"].is_unique):
            raise ModelError("bars must be oldest first, each timestamp once.")
        series = scale_features(bars, self.windows, self.feature_scaler)
        origins = complete_origins(torch.isfinite(series).all(1).numpy(), self.windows.lookback, 0)
        if not len(origins):
            raise SeriesTooShort(
                f"{len(bars)} bars hold no complete window of lookback={self.windows.lookback}; "
                f"give at least {self.windows.lookback + 1} without a gap."
            )
        last_close = bars["close"].to_numpy(dtype=np.float64)[origins]
        return pd.DataFrame(
            {
                "origin": bars["timestamp"].iloc[origins].array,
                "last_close": last_close,
                "forecast": self.forecast(series, origins, last_close),
            }
        )

    def forecast(
        self, series: Float[Tensor, "time features"], origins: NDArray[np.int64], last_close: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Prices forecast by the windows of a scaled series that end at `origins`."""
        windows = slide(series, self.windows.lookback)
        starts = torch.from_numpy(origins) - (self.windows.lookback - 1)
        self.network.eval()
        with torch.inference_mode():
            scaled = torch.cat([self.network(windows[batch]) for batch in starts.split(_BATCH)])
        label = self.label_scaler.inverse(scaled.double().cpu().numpy()[:, None])[:, 0]
        return self.target.price(label, last_close)


def save(folder: Path, network: Network, manifest: dict[str, Any]) -> None:
    """Write weights and manifest into an existing folder."""
    with replacing(folder / WEIGHTS) as temporary:
        save_file({name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}, temporary)
    write_json(folder / MANIFEST, manifest)


def load(folder: Path) -> StoredForecaster:
    """Read a trained model.

    Raises:
        ModelError: if a file is missing, damaged, or weights and manifest don't belong together.
    """
    for name in (MANIFEST, WEIGHTS):
        if not (folder / name).is_file():
            raise ModelError(f"{folder} holds no complete model: {name} is missing. Train it again.")
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        kind = manifest["cell"]["kind"]
        config = validate(manifest["cell"]["config"], cells.registry.load(kind).Config, f"{folder}: cell")
        windows = validate(manifest["windows"], Windows, f"{folder}: windows")
        target_config = validate(manifest["target"], TargetConfig, f"{folder}: target")
        network = Network(kind, config, len(windows.features), seed=0)
        network.load_state_dict(load_file(folder / WEIGHTS))
        scalers = manifest["scalers"]
        return StoredForecaster(
            network=network.eval(),
            windows=windows,
            target=target_registry.load(target_config.kind)(),
            feature_scaler=Scaler.from_dict(scalers["features"]),
            label_scaler=Scaler.from_dict(scalers["label"]),
            manifest=manifest,
        )
    except (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder} holds a damaged model ({type(error).__name__}: {reason}). Train it again."
        ) from None
