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
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.network import Network
from carrossel.targets.base import CHANCES, MOVES, QUANTILES, make_target, quantile_column, read_target
from carrossel.windows.config import Windows
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import complete_origins
from carrossel.windows.tensor import scale_features, slide

if TYPE_CHECKING:
    from pathlib import Path

    from jaxtyping import Float
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.targets.base import Target, Values

WEIGHTS = "model.safetensors"
MANIFEST = "manifest.json"
_BATCH = 2048


@dataclass(frozen=True)
class Forecast:
    """Forecasts of many windows, in the unit that people read.

    Args:
        point: shape [windows, horizons].
        quantiles: at `QUANTILES`, shape [windows, horizons, levels]; None where the head has none.
        moves: the likeliest labels, likeliest first, in the label's own unit, shape [windows, horizons, count]; None where the
            head tells none.
        chances: their probabilities, of the same shape.
    """

    point: Values
    quantiles: Values | None
    moves: Values | None = None
    chances: Values | None = None


@dataclass(frozen=True)
class StoredForecaster:
    """A trained network with all it needs to turn raw bars into forecasts."""

    network: Network
    windows: Windows
    target: Target
    feature_scaler: Scaler
    label_scaler: Scaler
    manifest: dict[str, Any]

    def predict(self, bars: pd.DataFrame) -> pd.DataFrame:
        """Forecast what comes after each complete window.

        Args:
            bars: columns timestamp, open, high, low, close, volume, oldest first, one row per interval; at least
                `bars.needed` of the manifest (lookback + 1, or more where a feature looks back over a week);
                realised_variance too if it was trained on bars that have it.

        Returns:
            One row per window and horizon: origin (timestamp of its last bar), horizon (bars), last_close, forecast (a price,
            or the target's own unit), and quantiles `q05` … `q95` where the head has them. Where the head knows the likeliest next
            moves, as `binned` does: `move_1` … `move_5`, each the mean training label of its bin, likeliest first, in the
            label's own unit (target log_return: a log return over the horizon, not a price; volatility: log variance;
            price: a price), and `chance_1` … `chance_5`, the probability of each of these bins.

        Raises:
            SeriesTooShort: if no complete window fits.
            ModelError: if a column is missing or the bars aren't in order.
        """
        learned = self.manifest.get("bars", {})
        columns_needed = {"timestamp", "open", "high", "low", "close", "volume", *learned.get("columns", ())}
        if absent := columns_needed - set(bars):
            raise ModelError(f"bars lack the columns {', '.join(sorted(absent))}.")
        bars = bars.assign(timestamp=pd.to_datetime(bars["timestamp"], utc=True).dt.as_unit("ns"))
        if not (bars["timestamp"].is_monotonic_increasing and bars["timestamp"].is_unique):
            raise ModelError("bars must be oldest first, each timestamp once.")
        needed = int(learned.get("needed", self.windows.lookback + 1))
        if len(bars) < needed:
            raise SeriesTooShort(
                f"{len(bars)} bars were given; windows of lookback={self.windows.lookback} on the features "
                f"{', '.join(self.windows.features)} need at least {needed}."
            )
        series = scale_features(bars, self.windows, self.feature_scaler)
        close = bars["close"].to_numpy(dtype=np.float64)
        present = torch.isfinite(series).all(1).numpy() & np.isfinite(close)
        origins = complete_origins(present, self.windows.lookback, 0)
        # Nearer to the start, a mean over a week would be one over what there is, which the network never saw in training.
        origins = origins[origins >= needed - 1]
        if not len(origins):
            raise SeriesTooShort(
                f"{len(bars)} bars hold no complete window of lookback={self.windows.lookback}; "
                f"give at least {needed} without a gap."
            )
        last_close = close[origins]
        horizons = self.windows.horizons
        found = self.forecast(series, origins, last_close)
        columns = {
            "origin": bars["timestamp"].iloc[np.repeat(origins, len(horizons))].array,
            "horizon": np.tile(horizons, len(origins)),
            "last_close": np.repeat(last_close, len(horizons)),
            "forecast": found.point.reshape(-1),
        }
        return pd.DataFrame(columns | quantile_columns(found) | likeliest_columns(found))

    def forecast(
        self, series: Float[Tensor, "time features"], origins: NDArray[np.int64], last_close: Values
    ) -> Forecast:
        """Forecasts by the windows of a scaled series that end at `origins`."""
        windows = slide(series, self.windows.lookback)
        starts = torch.from_numpy(origins) - (self.windows.lookback - 1)
        self.network.eval()
        points, quantiles, likeliest = [], [], []
        with torch.inference_mode():
            for batch in starts.split(_BATCH):
                raw = self.network(windows[batch])
                points.append(self.network.head.point(raw))
                quantiles.append(self.network.head.quantiles(raw, QUANTILES))
                likeliest.append(self.network.head.likeliest(raw))
        levels = [found for found in quantiles if found is not None]
        ranked = [found for found in likeliest if found is not None]
        return Forecast(
            self._report(torch.cat(points), last_close),
            self._report(torch.cat(levels), last_close) if levels else None,
            self._label(torch.cat([moves for _, moves in ranked])) if ranked else None,
            torch.cat([chances for chances, _ in ranked]).double().cpu().numpy() if ranked else None,
        )

    def _report(self, scaled: Float[Tensor, "windows horizons *levels"], last_close: Values) -> Values:
        return self.target.report(self._label(scaled), last_close.reshape(-1, 1, *(1,) * (scaled.ndim - 2)))

    def _label(self, scaled: Float[Tensor, "windows horizons *levels"]) -> Values:
        further = (1,) * (scaled.ndim - 2)
        scaler = Scaler(self.label_scaler.center.reshape(-1, *further), self.label_scaler.scale.reshape(-1, *further))
        return scaler.inverse(scaled.double().cpu().numpy())


def quantile_columns(found: Forecast) -> dict[str, Values]:
    """Columns `q05` … `q95`, one row per window and horizon; none where the head has no quantiles."""
    if found.quantiles is None:
        return {}
    return {quantile_column(level): found.quantiles[..., k].reshape(-1) for k, level in enumerate(QUANTILES)}


def likeliest_columns(found: Forecast) -> dict[str, Values]:
    """Columns `move_1`, `chance_1` and so on, one row per window and horizon; none where the head tells none."""
    if found.moves is None or found.chances is None:
        return {}
    count = found.moves.shape[-1]  # no more than the head has bins
    moves = {name: found.moves[..., k].reshape(-1) for k, name in enumerate(MOVES[:count])}
    return moves | {name: found.chances[..., k].reshape(-1) for k, name in enumerate(CHANCES[:count])}


def save(folder: Path, network: Network, manifest: dict[str, Any]) -> None:
    """Write weights and manifest into an existing folder.

    Raises:
        ModelError: if the weights can't be written, as on a full disk.
    """
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    try:
        with replacing(folder / WEIGHTS) as temporary:
            save_file(weights, temporary)
    except SafetensorError as error:  # no OSError, whatever the disk says
        reason = " ".join(str(error).split())
        raise ModelError(f"{folder / WEIGHTS} can't be written: {reason}. Make room, then run again.") from None
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
        target = read_target(manifest["target"], f"{folder}: target")
        head = read_head(manifest["head"], target, f"{folder}: head")
        network = Network(kind, config, len(windows.features), seed=0, head=head, horizons=len(windows.horizons))
        network.load_state_dict(load_file(folder / WEIGHTS))
        scalers = manifest["scalers"]
        return StoredForecaster(
            network=network.eval(),
            windows=windows,
            target=make_target(target),
            feature_scaler=Scaler.from_dict(scalers["features"]),
            label_scaler=Scaler.from_dict(scalers["label"]),
            manifest=manifest,
        )
    except (SafetensorError, json.JSONDecodeError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise ModelError(
            f"{folder} holds a damaged model ({type(error).__name__}: {reason}). Train it again."
        ) from None
