"""What serves each dataset: the champion's model, or persistence; exchanged as a whole when the champion changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from carrossel.bars.config import Dataset
from carrossel.config import lookup, validate
from carrossel.errors import CarrosselError, ModelError
from carrossel.online.champion import Champion
from carrossel.online.serving.forecasting import MANIFEST, LightForecaster
from carrossel.online.serving.reading import Refused
from carrossel.online.serving.spacing import Spacing
from carrossel.targets.base import QUANTILES, make_target, quantile_column
from carrossel.windows.question import read_question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.targets.base import Target
    from carrossel.windows.columns import BarColumns


class Finder(Protocol):
    """Who is champion now; see `carrossel.online.champion.find_champion`."""

    def __call__(self, dataset: str) -> Champion: ...


@dataclass(frozen=True)
class Served:
    """What serves one dataset between two looks at the alias.

    Attributes:
        champion: whose forecasts are given; without a version, persistence's.
        forecaster: of that champion; None with persistence.
        persistence: of the dataset's own question.
        horizons: of that question.
        spacing: of the dataset's bars.
        problem: why what serves isn't, or may not be, what the alias names; None while all is well.
        written: when the forecaster's files were, since a version of that number may be another one's tomorrow.
    """

    champion: Champion
    forecaster: LightForecaster | None
    persistence: Target
    horizons: tuple[int, ...]
    spacing: Spacing
    problem: str | None = None
    written: int = 0

    def answer(self, bars: BarColumns) -> dict[str, Any]:
        """The forecast by the newest bars, as plain data.

        Raises:
            Refused: if the bars don't do for a forecast.
        """
        self.spacing.check(
            bars.timestamps, 1 + self.horizons[-1] if self.forecaster is None else self.forecaster.needed
        )
        with np.errstate(all="ignore"):  # what isn't finite is told as such
            return self._by_persistence(bars) if self.forecaster is None else self._by_model(self.forecaster, bars)

    def describe(self) -> dict[str, Any]:
        """Who serves, as plain data."""
        known = self.forecaster.manifest if self.forecaster is not None else {}
        return {
            "dataset": self.champion.dataset,
            "serves": "persistence" if self.forecaster is None else "champion",
            "version": self.champion.version if self.forecaster is not None else None,
            "competitor": known.get("competitor"),
            "reason": self.champion.reason,
            "problem": self.problem,
            "bars_needed": 1 if self.forecaster is None else self.forecaster.needed,
            "columns": list(self.forecaster.columns if self.forecaster is not None else ()),
            "trained_until": known.get("bars", {}).get("last"),
        }

    def _by_model(self, forecaster: LightForecaster, bars: BarColumns) -> dict[str, Any]:
        if absent := [name for name in forecaster.columns if name not in bars]:
            raise Refused(422, f"this model needs the columns {', '.join(absent)}, too.")
        try:
            found = forecaster.forecast(bars, newest=True)
        except CarrosselError as error:
            raise Refused(422, str(error)) from None
        rows = []
        for place, horizon in enumerate(forecaster.windows.horizons):
            row: dict[str, Any] = {"horizon": horizon, "forecast": float(found.point[0, place])}
            if found.lower is not None and found.upper is not None:
                row |= {"lower": float(found.lower[0, place]), "upper": float(found.upper[0, place])}
            if found.quantiles is not None:
                row |= {
                    quantile_column(level): float(found.quantiles[0, place, k]) for k, level in enumerate(QUANTILES)
                }
            rows.append(row)
        interval = forecaster.interval
        return self._body(bars, forecaster.target, rows, None if interval is None else interval["level"])

    def _by_persistence(self, bars: BarColumns) -> dict[str, Any]:
        rows = []
        for horizon in self.horizons:
            try:
                label = self.persistence.unchanged(bars, horizon)[-1:]
            except CarrosselError as error:
                raise Refused(422, str(error)) from None
            rows.append({"horizon": horizon, "forecast": float(self.persistence.report(label, bars["close"][-1:])[0])})
        return self._body(bars, self.persistence, rows, None)

    def _body(
        self, bars: BarColumns, target: Target, rows: list[dict[str, Any]], level: float | None
    ) -> dict[str, Any]:
        if not all(np.isfinite(value) for row in rows for value in row.values()):
            raise Refused(422, "these bars give no finite forecast: check the size of their numbers.")
        return {
            "dataset": self.champion.dataset,
            "serves": "persistence" if self.forecaster is None else "champion",
            "version": self.champion.version if self.forecaster is not None else None,
            "reason": self.champion.reason,
            "origin": f"{bars.timestamps[-1].astype('datetime64[us]')}Z",
            "last_close": float(bars["close"][-1]),
            "unit": target.unit,
            "level": level,
            "forecasts": rows,
        }


class ServedModels:
    """One `Served` per dataset; `refresh` exchanges it, requests in between see the old or the new one whole.

    Args:
        datasets: their names in params.yaml.
        params: all of params.yaml.
        find: who is champion now.

    Raises:
        ConfigError: if a dataset or its question isn't valid.
    """

    def __init__(self, datasets: tuple[str, ...], params: dict[str, Any], find: Finder) -> None:
        self.datasets, self.find = datasets, find
        self._served: dict[str, Served] = {}
        for name in datasets:
            windows, target = read_question(name, params)
            nobody = Champion(name, None, None, "persistence serves: the champion wasn't asked for yet")
            spacing = Spacing.of(validate(lookup(f"datasets.{name}", params), Dataset, f"datasets.{name}"))
            self._served[name] = Served(nobody, None, make_target(target), windows.horizons, spacing)

    def __getitem__(self, dataset: str) -> Served:
        return self._served[dataset]

    def all(self) -> Mapping[str, Served]:
        """By dataset."""
        return self._served

    def refresh(self) -> None:
        """Look at every dataset's champion, and load the one that is new. Never raises: what served goes on, and says why."""
        for name in self.datasets:
            self._served[name] = self._refreshed(self._served[name])

    def _refreshed(self, now: Served) -> Served:
        dataset = now.champion.dataset
        try:
            champion = self.find(dataset)
            if champion.folder is None:
                return replace(now, champion=champion, forecaster=None, problem=champion.problem)
            written = (champion.folder / MANIFEST).stat().st_mtime_ns
            if now.forecaster is not None and (now.champion.folder, now.written) == (champion.folder, written):
                return replace(now, champion=champion, problem=champion.problem)
            forecaster = LightForecaster.load(champion.folder)
            return replace(now, champion=champion, forecaster=forecaster, problem=champion.problem, written=written)
        except (CarrosselError, OSError) as error:
            what = "can't be served" if isinstance(error, ModelError) else "can't be asked for"
            return replace(now, problem=f"{dataset}'s champion {what}: {' '.join(str(error).split())}")
        except Exception as error:  # noqa: BLE001 - whatever a registry does, what serves goes on
            return replace(now, problem=f"{dataset}'s champion can't be asked for: {type(error).__name__}")
