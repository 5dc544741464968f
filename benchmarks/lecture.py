"""The lecture's two practicals on the lecture's files: as the lecture ran them, and as carrossel does, beside persistence.

    python benchmarks/lecture.py --data FOLDER [--quick] [--write]

FOLDER, or its subfolder `lecture`, holds Google_Stock_Price_{Train,Test}.csv and BitCoin_2012_a_*.csv.

The protocol of carrossel's bitcoin row: the rows before the test part (the last tenth, as the lecture cuts it) are all that a
choice may look at. Their last tenth is validated on: each candidate is trained on the rows before it with five seeds, the five
forecasts are averaged, and the recipe and number of epochs with the lowest squared error of log prices are taken. That recipe is
trained on all rows before the test part with five seeds; the mean of the five forecasts is scored. `--quick` takes the recipe
that this choice ended with, and of the lecture's models runs bitcoin's of lookback 10 alone, with one seed.

Goal: RMSE of at most 251.0 USD on the test part, where an AR(2) has 251.4. The lecture's own loop leaves out the part's first two
rows and its last one; the errors on those 276 rows are shown too.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import sys
import time
import warnings
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from reporting import Report, say_not_run
from torch import nn

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import Prepared, prepare
from carrossel.bars.quality_page import summarise
from carrossel.bars.sources.base import RawBars, open_source
from carrossel.baselines.ar import ArConfig
from carrossel.baselines.base import make_baseline
from carrossel.cells import registry as cells
from carrossel.cells.unrolling import unroll
from carrossel.evaluation.echo import find_echo
from carrossel.evaluation.significance import diebold_mariano
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit
from carrossel.windows.config import Windows
from carrossel.windows.splitting import Split, complete_origins
from carrossel.windows.tensor import WindowedSeries, window_series

Values = NDArray[np.float64]
Rows = NDArray[np.int64]

GOAL = 251.0
SEEDS = (1, 2, 3, 4, 5)

GOOGLE = ("Google_Stock_Price_Train.csv", "Google_Stock_Price_Test.csv")
BITCOIN, BITCOIN_WITH_GAP = "BitCoin_2012_a_2019.08.12.csv", "BitCoin_2012_a_2020.04.22.csv"
FILES = (*GOOGLE, BITCOIN, BITCOIN_WITH_GAP)
TRAIN_SHARE = 0.9
LECTURE_RMSE = {2: 352.60, 10: 440.39}
LECTURE_EPOCHS = {2: 5, 10: 2}
SLOWER_LOOKBACK = 2


@dataclass(frozen=True)
class Candidate:
    """A recipe that the validation may choose."""

    kind: str
    hidden_size: int
    lookback: int
    batch_size: int
    weight_decay: float
    learning_rate: float = 5e-3

    def recipe(self, epochs: int, seed: int) -> Recipe:
        return Recipe(
            dataset="bitcoin",
            competitor=self.kind,
            kind=self.kind,
            cell=cells.load(self.kind).Config(hidden_size=self.hidden_size),
            windows=Windows(lookback=self.lookback, features=("log_return",)),
            target=TargetConfig(kind="log_return"),
            head=HeadConfig(kind="point"),
            training=Training(
                seed=seed,
                epochs=epochs,
                patience=epochs,
                batch_size=self.batch_size,
                learning_rate=self.learning_rate,
                weight_decay=self.weight_decay,
                probe_windows=1,
                accelerator="cpu",
            ),
        )

    def __str__(self) -> str:
        return (
            f"{self.kind} of {self.hidden_size}, lookback {self.lookback}, batch {self.batch_size}, "
            f"learning rate {self.learning_rate:g}, weight decay {self.weight_decay:g}"
        )


CANDIDATES = (
    Candidate("lstm", 8, 10, 64, 0.0),
    Candidate("lstm", 8, 10, 64, 0.1),
    Candidate("lstm", 8, 10, 64, 1.0),
    Candidate("lstm", 16, 10, 64, 1.0),
    Candidate("lstm", 16, 20, 64, 1.0),
    Candidate("peephole", 8, 10, 64, 0.0),
    Candidate("peephole", 8, 10, 64, 1.0),
    Candidate("peephole", 8, 20, 64, 1.0),
    Candidate("peephole", 16, 10, 64, 1.0),
    Candidate("peephole_diagonal", 8, 10, 64, 1.0),
    Candidate("coupled", 8, 10, 64, 1.0),
    Candidate("gru", 8, 10, 64, 1.0),
    Candidate("rnn", 8, 10, 64, 1.0),
)
CHOSEN, CHOSEN_EPOCHS = CANDIDATES[8], 35
LONGEST = 40
"""Epochs that the choice looks at."""
QUICK = (
    "no choice of the recipe; of the lecture's models bitcoin's of lookback 10 alone, one seed; not the file with NaN"
)


def rmse(forecast: Values, truth: Values) -> float:
    return float(np.sqrt(np.mean((forecast - truth) ** 2)))


# --- as the lecture does -------------------------------------------------------------------------------------------------


class Stack(nn.Module):
    """LSTM layers with dropout after each and one output, with Keras's initial weights (the lecture's library)."""

    def __init__(self, features: int, hidden_size: int, layers: int, dropout: float) -> None:
        super().__init__()
        lstm = cells.load("lstm")
        sizes = [features] + [hidden_size] * layers
        self.layers = nn.ModuleList(lstm(size, lstm.Config(hidden_size=hidden_size)) for size in sizes[:-1])
        for layer in self.layers:
            nn.init.xavier_uniform_(layer.weight_x)
            nn.init.orthogonal_(layer.weight_h)
        self.dropout = nn.Dropout(dropout)
        self.output = nn.Linear(hidden_size, 1)
        nn.init.xavier_uniform_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Windows of shape [batch, time, features] to forecasts of shape [batch]."""
        hidden = x.transpose(0, 1)
        for layer in self.layers:
            if len(hidden) == 1:  # a single step leaves nothing to unroll
                hidden = layer.step(layer.project(hidden)[0], layer.initial_state(len(x))).h[None]
            else:
                hidden, _ = unroll(layer, hidden)
            hidden = self.dropout(hidden)
        return self.output(hidden[-1]).squeeze(-1)


def train_as_lecture(network: Stack, x: torch.Tensor, y: torch.Tensor, epochs: int, batch_size: int) -> None:
    """Adam with Keras's defaults on the mean squared error, windows shuffled, no validation."""
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3, eps=1e-7, fused=True)
    network.train()
    for _ in range(epochs):
        for batch in torch.randperm(len(x)).split(batch_size):
            loss = (network(x[batch]) - y[batch]).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()


def tensor(values: Values) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def lecture_rows(rows: int, lookback: int) -> Rows:
    """Test rows that the lecture forecasts: its loop starts a lookback into the part and leaves out the last pair."""
    return np.arange(int(rows * TRAIN_SHARE) + lookback, rows - 1)


def bitcoin_lecture(close: Values, lookback: int, seed: int, epochs: int) -> Values:
    """The lecture's forecasts of its test rows: 4 units that see the window as one step of `lookback` features."""
    torch.manual_seed(seed)
    low, high = np.nanmin(close), np.nanmax(close)  # of all rows, the test part too, as the lecture has it
    scaled = (close - low) / (high - low)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, lookback)
    first_test = int(len(close) * TRAIN_SHARE)
    train = np.arange(lookback, first_test - 1)
    network = Stack(lookback, 4, layers=1, dropout=0.0)
    x, y = tensor(windows[train - lookback][:, None]), tensor(scaled[train])
    train_as_lecture(network, x, y, epochs, batch_size=1)
    with torch.no_grad():
        forecast = network(tensor(windows[lecture_rows(len(close), lookback) - lookback][:, None]))
    return forecast.double().numpy() * (high - low) + low


def stock_lecture(price: Values, days: int, seed: int) -> Values:
    """The lecture's forecasts of the last `days` rows: four layers of 50 on 60 min-max scaled prices."""
    lookback = 60
    torch.manual_seed(seed)
    low, high = price[:-days].min(), price[:-days].max()
    scaled = (price - low) / (high - low)
    windows = np.lib.stride_tricks.sliding_window_view(scaled, lookback)[:-1, :, None]
    network = Stack(1, 50, layers=4, dropout=0.2)
    train_as_lecture(network, tensor(windows[:-days]), tensor(scaled[lookback:-days]), epochs=10, batch_size=32)
    with torch.no_grad():
        forecast = network(tensor(windows[-days:]))
    return forecast.double().numpy() * (high - low) + low


# --- as carrossel does ---------------------------------------------------------------------------------------------------


def read_raw(path: Path, price: str) -> RawBars:
    """A file's bars, one of its columns taken as the price."""
    dataset = Dataset(source={"kind": "csv", "path": path.name, "columns": {"close": price}}, interval="1d")
    return open_source(dataset.source, path.parent, dataset.interval).fetch()


def put_on_grid(raw: RawBars, calendar: str) -> Prepared:
    """Canonical bars and what was found on the way."""
    dataset = Dataset(source={"kind": "csv", "path": "unused"}, calendar=calendar, interval="1d")
    return prepare(raw, dataset, Repair(), name=calendar, now=pd.Timestamp("2026-01-01", tz="UTC"))


class EpochForecasts(pl.Callback):
    """Scaled forecasts after each epoch."""

    def __init__(self, data: WindowedSeries, origins: Rows) -> None:
        self.windows = data.gather(torch.from_numpy(origins))
        self.rows: list[Values] = []

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del trainer
        with torch.no_grad():
            self.rows.append(pl_module.network.point(self.windows).double().numpy())


def fit_quietly(data: WindowedSeries, recipe: Recipe, callbacks: list[pl.Callback]) -> object:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return fit(data, recipe, MemoryRecorder(), name="benchmark", callbacks=callbacks)


def cut(bars: pd.DataFrame, windows: Windows, start: int, end: int) -> WindowedSeries:
    """Rows start … end − 1 as the test part, all rows before to train on; the last tenth of those is what training logs."""
    present = np.isfinite(np.diff(np.log(bars["close"].to_numpy()), prepend=np.nan))
    origins = complete_origins(present, windows.lookback, 1)
    train = origins[origins < start - 1]
    test = origins[(origins >= start - 1) & (origins < end - 1)]
    split = Split(train, train[-len(train) // 10 :], test, start)
    return window_series(bars, windows, make_target(TargetConfig(kind="log_return")), split=split)


def forecast_rows(data: WindowedSeries, candidate: Candidate, epochs: int, seeds: tuple[int, ...]) -> Values:
    """Prices of the test part's rows, shape [seeds, epochs, rows].

    Trained for all epochs: nothing stops early, since the number of epochs is part of what is chosen.
    """
    test, prices = data.split.test, []
    for seed in seeds:
        forecasts = EpochForecasts(data, test)
        fit_quietly(data, candidate.recipe(epochs, seed), [forecasts])
        label = np.stack([data.label_scaler.inverse(scaled)[:, 0] for scaled in forecasts.rows])
        prices.append(data.bars["close"][test] * np.exp(label))
    return np.stack(prices)


def validate(bars: pd.DataFrame, candidate: Candidate, first_test: int) -> Values:
    """Squared error of log prices on the validation block relative to persistence's, by epoch."""
    start = int(first_test * TRAIN_SHARE)
    # The rows of the test part aren't even handed over.
    data = cut(bars[:first_test], candidate.recipe(1, 1).windows, start, first_test)
    forecast = np.log(forecast_rows(data, candidate, LONGEST, SEEDS)).mean(axis=0)
    logarithm = np.log(data.bars["close"])
    truth, unchanged = logarithm[start:], logarithm[start - 1 : -1]
    ratio: Values = ((forecast - truth) ** 2).mean(axis=1) / ((unchanged - truth) ** 2).mean()
    return ratio


def choose(bars: pd.DataFrame, first_test: int, say: Table) -> tuple[Candidate, int]:
    """The candidate and number of epochs with the lowest validation error."""
    found = []
    for candidate in CANDIDATES:
        started = time.perf_counter()
        ratio = validate(bars, candidate, first_test)
        epochs = int(ratio.argmin()) + 1
        found.append((float(ratio.min()), candidate, epochs))
        say(f"  {ratio.min():.4f} at epoch {epochs:2}: {candidate} ({time.perf_counter() - started:.0f} s)")
    _, candidate, epochs = min(found, key=lambda row: row[0])
    return candidate, epochs


# --- the tables ----------------------------------------------------------------------------------------------------------


class Table(Report):
    """Forecasters by error, one table a question."""

    def head(self, title: str, truth: Values, unchanged: Values) -> None:
        self()
        self(title)
        self(f"  {'':52} {'RMSE':>8} {'skill':>7} {'p':>7}")
        self(f"  {'persistence: tomorrow = today':52} {rmse(unchanged, truth):8.2f} {0:7.3f}")

    def row(self, name: str, forecasts: list[Values], truth: Values, unchanged: Values, note: str = "") -> None:
        """One forecaster; of several runs the mean error, its range and how often it is an echo."""
        errors = [rmse(forecast, truth) for forecast in forecasts]
        mean = float(np.mean(errors))
        skill = float(np.mean([1 - (error / rmse(unchanged, truth)) ** 2 for error in errors]))
        echoes = sum(
            find_echo(pd.DataFrame({"truth": truth, "forecast": forecast, "unchanged": unchanged})).is_echo
            for forecast in forecasts
        )
        if len(forecasts) == 1:
            p = diebold_mariano((forecasts[0] - truth) ** 2 - (unchanged - truth) ** 2, 1).p_better
            tail = f"{p:7.3f}  {'echo' if echoes else ''}"
        else:
            tail = f"{'':7}  {min(errors):.1f}–{max(errors):.1f} by seed, echo in {echoes} of {len(forecasts)}"
        self(f"  {name:52} {mean:8.2f} {skill:7.3f} {tail} {note}".rstrip())


def stock(folder: Path, say: Table, seeds: tuple[int, ...], *, quick: bool) -> None:
    parts = [read_raw(folder / name, "Open") for name in GOOGLE]
    days = len(parts[1].frame)
    frame = pd.concat([part.frame for part in parts], ignore_index=True)
    bars = put_on_grid(RawBars(frame, parts[0].provenance), "XNYS").bars
    price = bars["close"].to_numpy()
    truth, unchanged = price[-days:], price[-days - 1 : -1]
    say.head(f"stock practical: Google's Open on the {days} days of January 2017", truth, unchanged)
    if not quick:
        lecture = [stock_lecture(price, days, seed) for seed in seeds]
        say.row("lecture: 4 × 50 LSTM on 60 scaled prices, 10 epochs", lecture, truth, unchanged)
    candidate = Candidate("lstm", 8, 20, 64, 0.0)
    recipe = candidate.recipe(40, 1)
    data = cut(bars, recipe.windows, len(bars) - days, len(bars))
    held_out = len(data.split.train) * 17 // 20
    train, validation = data.split.train[:held_out], data.split.train[held_out + candidate.lookback :]
    data = window_series(
        bars, recipe.windows, data.target, split=Split(train, validation, data.split.test, int(train[-1]) + 2)
    )
    forecasts = []
    for seed in SEEDS:
        training = candidate.recipe(40, seed).training.model_copy(update={"patience": 5})
        network = fit_quietly(data, replace(recipe, training=training), []).network
        with torch.no_grad():
            scaled = network.point(data.gather(torch.from_numpy(data.split.test))).double().numpy()
        forecasts.append(data.report(data.label_scaler.inverse(scaled), data.split.test)[:, 0])
    say.row(
        f"carrossel: {candidate.kind} of 8 on 20 returns, mean of 5 seeds", [np.mean(forecasts, 0)], truth, unchanged
    )


def autoregression(data: WindowedSeries, most_lags: int) -> Values:
    """Prices of the test part's rows by least squares on the last returns, as many as AIC takes."""
    model = make_baseline("ar", ArConfig(max_lag=most_lags))
    model.fit(data)
    return data.report(model.forecast(data, data.split.test), data.split.test)[:, 0]


def bitcoin(folder: Path, say: Table, seeds: tuple[int, ...], *, quick: bool) -> tuple[float, float]:
    """RMSE on the whole test part, and on those of its rows that the lecture scores at lookback 2."""
    prepared = put_on_grid(read_raw(folder / BITCOIN, "Close"), "24/7")
    bars = prepared.bars
    close = bars["close"].to_numpy()
    first_test = int(len(close) * TRAIN_SHARE)
    candidate, epochs = CHOSEN, CHOSEN_EPOCHS
    say()
    say(f"bitcoin practical: {len(close):,} days, the first {first_test:,} to train")
    if not quick:
        say("  chosen on the last tenth of those; squared error of log prices relative to persistence's:")
        candidate, epochs = choose(bars, first_test, say)
    say(f"  recipe: {candidate}, {epochs} epochs")
    data = cut(bars, candidate.recipe(1, 1).windows, first_test, len(close))
    networks = forecast_rows(data, candidate, epochs, SEEDS)[:, -1]
    regressions = {"AR(2) on log returns": 2, "AR, 10 lags at most, by AIC": 10}
    regressed = {name: autoregression(data, lags) for name, lags in regressions.items()}
    single = ", ".join(f"{rmse(forecast[2:-1], close[first_test + 2 : -1]):.1f}" for forecast in networks)

    def compare(rows: Rows, lookback: int | None = None) -> float:
        truth, unchanged, at = close[rows], close[rows - 1], rows - first_test
        what = f"lookback {lookback}: the {len(rows)} days the lecture scores" if lookback else f"all {len(rows)} days"
        say.head(f"bitcoin practical, {what}", truth, unchanged)
        if lookback and not (quick and lookback == SLOWER_LOOKBACK):
            lecture = [bitcoin_lecture(close, lookback, seed, LECTURE_EPOCHS[lookback]) for seed in seeds]
            name = f"lecture: LSTM of 4, {LECTURE_EPOCHS[lookback]} epochs (reported: {LECTURE_RMSE[lookback]:.2f})"
            say.row(name, lecture, truth, unchanged)
        for name, prices in regressed.items():
            say.row(name, [prices[at]], truth, unchanged)
        forecast = networks.mean(axis=0)[at]
        say.row(
            f"carrossel: {candidate.kind} of {candidate.hidden_size}, mean of 5 seeds", [forecast], truth, unchanged
        )
        return rmse(forecast, truth)

    lecture = compare(lecture_rows(len(close), 2), 2)
    say(f"  {'  each seed alone':52} {single}")
    compare(lecture_rows(len(close), 10), 10)
    whole = compare(np.arange(first_test, len(close)))
    if not quick:
        bitcoin_with_gap(folder, say, candidate, epochs)
    return whole, lecture


def bitcoin_with_gap(folder: Path, say: Table, candidate: Candidate, epochs: int) -> None:
    raw = read_raw(folder / BITCOIN_WITH_GAP, "Close")
    close = raw.frame["close"].to_numpy()
    forecast = bitcoin_lecture(close, 2, seed=1, epochs=1)  # one epoch is enough to meet the NaN
    prepared = put_on_grid(raw, "24/7")
    close = prepared.bars["close"].to_numpy()
    first_test = int(len(close) * TRAIN_SHARE)
    rows = np.arange(first_test, len(close))
    say.head(f"the file with three NaN, the last {len(rows)} days", close[rows], close[rows - 1])
    say(f"  lecture: {np.isfinite(forecast).sum()} of {len(forecast)} forecasts are numbers, the rest NaN")
    data = cut(prepared.bars, candidate.recipe(1, 1).windows, first_test, len(close))
    networks = forecast_rows(data, candidate, epochs, SEEDS)[:, -1]
    name = f"carrossel: the same {candidate.kind} and epochs, mean of 5 seeds"
    say.row(name, [networks.mean(axis=0)], close[rows], close[rows - 1])
    say(f"  prepare: {summarise(prepared.report)}")


def find_folder(given: Path) -> Path | None:
    """Where the lecture's four files lie: the folder given, or `lecture` in it."""
    return next(
        (folder for folder in (given, given / "lecture") if all((folder / name).is_file() for name in FILES)), None
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, help="folder of the lecture's four files, or one whose folder lecture/ holds them"
    )
    parser.add_argument("--quick", action="store_true", help=QUICK)
    parser.add_argument("--write", action="store_true", help="keep the tables in benchmarks/results/lecture.md")
    options = parser.parse_args()
    if options.data is None:
        say_not_run("lecture", " and ".join(FILES))
        return 0
    folder = find_folder(options.data)
    if folder is None:
        parser.error(f"{options.data} lacks some of {', '.join(FILES)}, and so does its folder lecture/.")
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)
    say = Table("lecture", "torch", "pytorch-lightning", "numba")
    if options.quick:
        say(f"quick run: {QUICK}")
    seeds = SEEDS[:1] if options.quick else SEEDS
    stock(folder, say, seeds, quick=options.quick)
    measured, scored = bitcoin(folder, say, seeds, quick=options.quick)
    say()
    say(
        f"on the 276 rows of the test part that the lecture scores at lookback 2: {scored:.2f}; on the whole test part:"
    )
    say(f"lecture: {measured:.2f} (goal <= {GOAL})")
    if options.write:
        say.write()
    return int(measured > GOAL)


if __name__ == "__main__":
    sys.exit(main())
