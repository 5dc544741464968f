"""A model folder through onnxruntime: the same forecasts as `StoredForecaster`'s, without torch and without MLflow."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from carrossel.config import validate
from carrossel.errors import ConfigError, ModelError, SeriesTooShort
from carrossel.targets.base import QUANTILES, make_target, quantile_column, read_target
from carrossel.windows.columns import BarColumns
from carrossel.windows.config import Windows
from carrossel.windows.features import compute_features
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import complete_origins

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.targets.base import Target, Values

MANIFEST, NETWORK = "manifest.json", "model.onnx"
NECESSARY = ("open", "high", "low", "close")
_BATCH = 2048


class Forecasts(NamedTuple):
    """Forecasts of some windows in the target's unit.

    Attributes:
        origins: rows of the windows' last bars, [windows].
        last_close: [windows].
        point: [windows, horizons].
        lower: of the interval, [windows, horizons]; None where the model has none.
        upper: likewise.
        quantiles: at `QUANTILES`, [windows, horizons, levels]; None where the head has none.
    """

    origins: NDArray[np.int64]
    last_close: Values
    point: Values
    lower: Values | None
    upper: Values | None
    quantiles: Values | None


@dataclass(frozen=True)
class LightForecaster:
    """A trained network with all it needs to turn raw bars into forecasts.

    Attributes:
        session: onnxruntime's, one thread; may be called by several.
        interval: as in the manifest.
    """

    windows: Windows
    target: Target
    feature_scaler: Scaler
    label_scaler: Scaler
    manifest: dict[str, Any]
    session: Any
    interval: dict[str, Any] | None

    @classmethod
    def load(cls, folder: Path) -> LightForecaster:
        """Read a trained model, and run it once.

        Raises:
            ModelError: if a file is missing, damaged, or network and manifest don't belong together.
        """
        for name in (MANIFEST, NETWORK):
            if not (folder / name).is_file():
                raise ModelError(f"{folder} can't be served: {name} is missing. Train the model again.")
        try:
            manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
            scalers = manifest["scalers"]
            loaded = cls(
                windows=validate(manifest["windows"], Windows, f"{folder}: windows"),
                target=make_target(read_target(manifest["target"], f"{folder}: target")),
                feature_scaler=Scaler.from_dict(scalers["features"]),
                label_scaler=Scaler.from_dict(scalers["label"]),
                manifest=manifest,
                session=_open(folder / NETWORK),
                interval=manifest.get("interval"),
            )
            loaded.check()
        except (OSError, ValueError, KeyError, TypeError, IndexError, ConfigError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ModelError(
                f"{folder} holds a damaged model ({type(error).__name__}: {reason}). Train it again."
            ) from None
        return loaded

    @cached_property
    def needed(self) -> int:
        """Fewest bars to forecast from."""
        return int(self.manifest.get("bars", {}).get("needed", self.windows.lookback + 1))

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Columns that bars must have."""
        learned = self.manifest.get("bars", {}).get("columns", ())
        return tuple(dict.fromkeys((*NECESSARY, "volume", *learned)))

    def check(self) -> None:
        """Run the network once, which is slower than all later runs.

        Raises:
            ValueError: if it isn't of the manifest's shape.
        """
        features = len(self.windows.features)
        if (taken := self.session.get_inputs()[0].shape[-1]) != features:
            raise ValueError(f"the network takes {taken} features, not {features}")
        point, quantiles = self._run(np.zeros((1, self.windows.lookback, features), np.float32))
        horizons = len(self.windows.horizons)
        shapes = (point.shape, None if quantiles is None else quantiles.shape)
        if shapes not in (((1, horizons), None), ((1, horizons), (1, horizons, len(QUANTILES)))):
            raise ValueError(f"the network gives {shapes} for {horizons} horizons")
        if self.interval is not None and len(self.interval["half_width"]) != horizons:
            raise ValueError(f"interval has {len(self.interval['half_width'])} half widths for {horizons} horizons")

    def predict(self, bars: pd.DataFrame, *, newest: bool = False) -> pd.DataFrame:
        """Forecast what comes after each complete window.

        Args:
            bars: as for `StoredForecaster.predict`.
            newest: only by the window of the newest bars, in the first place if that is complete.

        Returns:
            One row per window and horizon, as `StoredForecaster.predict`, likeliest moves aside; after the forecast `lower` and
            `upper` of the manifest's interval, where it has one.

        Raises:
            SeriesTooShort: if no complete window fits.
            ModelError: if a column is missing or the bars aren't in order.
        """
        import pandas as pd

        if absent := {"timestamp", *self.columns} - set(bars):
            raise ModelError(f"bars lack the columns {', '.join(sorted(absent))}.")
        bars = bars.assign(timestamp=pd.to_datetime(bars["timestamp"], utc=True).dt.as_unit("ns"))
        if not (bars["timestamp"].is_monotonic_increasing and bars["timestamp"].is_unique):
            raise ModelError("bars must be oldest first, each timestamp once.")
        found = self.forecast(BarColumns.of(bars), newest=newest)
        horizons = self.windows.horizons
        table = {
            "origin": bars["timestamp"].iloc[np.repeat(found.origins, len(horizons))].array,
            "horizon": np.tile(horizons, len(found.origins)),
            "last_close": np.repeat(found.last_close, len(horizons)),
            "forecast": found.point.reshape(-1),
        }
        if found.lower is not None and found.upper is not None:
            table |= {"lower": found.lower.reshape(-1), "upper": found.upper.reshape(-1)}
        if found.quantiles is not None:
            table |= {quantile_column(level): found.quantiles[..., k].reshape(-1) for k, level in enumerate(QUANTILES)}
        return pd.DataFrame(table)

    def forecast(self, bars: BarColumns, *, newest: bool = False) -> Forecasts:
        """Forecasts by the windows of bars whose columns and order are right.

        Args:
            newest: by the window that ends at the newest bar alone.

        Raises:
            SeriesTooShort: if there are fewer than `needed` bars, or none of them, with `newest` the last, ends a complete window.
        """
        rows, lookback = len(bars.timestamps), self.windows.lookback
        if rows < self.needed:
            raise SeriesTooShort(
                f"{rows} bars were given; windows of lookback={lookback} on the features "
                f"{', '.join(self.windows.features)} need at least {self.needed}."
            )
        try:
            features = compute_features(bars, self.windows.features)
        except ConfigError as error:
            raise SeriesTooShort(f"the bars given can't be forecast from: {error}") from None
        if newest:
            features = features[-lookback:]
        series = self.feature_scaler.transform(features).astype(np.float32)
        close = bars["close"]
        if newest:
            if not (np.isfinite(series).all() and np.isfinite(close[-lookback:]).all()):
                absent = [
                    name
                    for name, column in zip(self.windows.features, series.T, strict=True)
                    if not np.isfinite(column).all()
                ]
                raise SeriesTooShort(
                    f"the last {lookback} bars hold no complete window: {', '.join(absent) or 'close'} has no value at one of them."
                )
            return self._report(np.array([rows - 1]), close[-1:], *self._run(series[None]))
        origins = complete_origins(np.isfinite(series).all(axis=1) & np.isfinite(close), lookback, 0)
        origins = origins[origins >= self.needed - 1]
        if not len(origins):
            raise SeriesTooShort(
                f"{rows} bars hold no complete window of lookback={lookback}; give at least {self.needed} without a gap."
            )
        slid = np.lib.stride_tricks.sliding_window_view(series, lookback, axis=0).transpose(0, 2, 1)
        starts = origins - (lookback - 1)
        parts = [self._run(slid[starts[first : first + _BATCH]]) for first in range(0, len(starts), _BATCH)]
        quantiles = [each for _, each in parts if each is not None]
        return self._report(
            origins,
            close[origins],
            np.concatenate([point for point, _ in parts]),
            np.concatenate(quantiles) if quantiles else None,
        )

    def _run(self, windows: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        point, *quantiles = self.session.run(None, {"windows": np.ascontiguousarray(windows)})
        return point, quantiles[0] if quantiles else None

    def _report(
        self,
        origins: NDArray[np.int64],
        last_close: Values,
        point: NDArray[np.float32],
        quantiles: NDArray[np.float32] | None,
    ) -> Forecasts:
        closes = last_close[:, None]
        center, scale = self.label_scaler.center, self.label_scaler.scale
        forecast = self.target.report(point * scale + center, closes)
        levels = None
        if quantiles is not None:
            levels = self.target.report(quantiles * scale[:, None] + center[:, None], closes[..., None])
        if self.interval is None:
            return Forecasts(origins, last_close, forecast, None, None, levels)
        half = np.asarray(self.interval["half_width"], dtype=np.float64)
        if self.interval["relative"]:
            half = half * closes
        return Forecasts(origins, last_close, forecast, forecast - half, forecast + half, levels)


def _open(path: Path) -> Any:
    """A session of one thread that sleeps when there is nothing to do."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4  # what is wrong is raised as well
    try:
        return onnxruntime.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's have no class in common
        raise ValueError(f"{path.name}: {error}") from None
