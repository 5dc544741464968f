"""Is an LSTM or GRU trained here as accurate as neuralforecast's and darts' on the same bars, split and budget?

    python benchmarks/accuracy_peers.py [--quick] [--write]

Two embedded samples (hourly bitcoin, daily Google) are asked two questions: the next bar's log return and its log variance
(Garman & Klass). Every forecaster sees the one series it forecasts, learns from the train part alone, and forecasts each bar of
the test part from the bars before it; none is trained again on the way. Each library runs in its own environment under
`.carrossel/peers`, made once with pip.

The same for all: lookback, one recurrent layer of the same size, squared error as loss, batch size, number of optimiser
steps, seeds. Left to each library's defaults: learning rate, optimiser, scaling, initial weights, and what follows the layer.

- neuralforecast: Adam at 0.001, each window scaled by its own median and deviation from it (`robust`), a dense layer of
  128 and a linear one after the last hidden state. (Its default loss is MAE; it gets the one it is judged by.)
- darts: `BlockRNNModel`, Adam at 0.001, a linear layer. Its models don't scale; series go through its `Scaler`, min-max by default.
- ours: section `training` of params.yaml, epochs as many as the steps allow. It stops early and keeps the weights that were best on
  the validation part, as `train` does.

The peers keep their last weights by default. So that nothing is won by that alone, each also competes with the weights that
were best on the validation part, looked at as often as ours; both rows come from one training. `every feature` is ours with
all features of params.yaml, beside the comparison. AR, HAR and persistence are what any network has to beat.

Which of our cells is compared is chosen on the validation part. Forecasts are averaged over seeds, then tested by Diebold &
Mariano (1995), one-sided and uncorrected for the number of peers, which is to the peers' advantage. Before that a planted
change in one bar must change each library's forecasts from the next bar on and none before: a shift by one, or a look ahead,
stops the benchmark.
Goal: no peer is significantly better on any question.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
import tempfile
import time
import warnings
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch
import yaml
from peers import PINS, Runner, install, is_ready, python_of
from reporting import Report

from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import open_source
from carrossel.baselines.base import make_baseline
from carrossel.config import project_root, validate
from carrossel.evaluation.significance import LEVEL, diebold_mariano
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import make_target
from carrossel.training.config import read_recipe
from carrossel.training.fitting import fit
from carrossel.windows.features import FEATURES
from carrossel.windows.tensor import WindowedSeries, window_series

if TYPE_CHECKING:
    from carrossel.targets.base import Values

CELLS = {"lstm": "LSTM", "gru": "GRU"}
HIDDEN = 32
SEEDS = (1, 2, 3)
STEPS = {"bitcoin": 440, "google": 240}
"""Bitcoin's are the 8 epochs of params.yaml; Google's short series gets 40 epochs, since 8 would be only 48 steps."""
QUICK_STEPS = 24
QUESTIONS = {"log_return": ("log_return", "ar"), "volatility": ("log_variance", "har")}
"""Target: the feature whose next value it is, and the classical competitor."""
WEIGHTS = {"last": "", "best": ", best on validation"}


@dataclass(frozen=True)
class Question:
    """One series, one target, and everything the forecasters are told."""

    name: str
    data: WindowedSeries
    bars: pd.DataFrame
    params: dict[str, Any]
    series: Values
    steps: int

    @property
    def rows(self) -> np.ndarray:
        """Rows forecast, one for each test origin."""
        return self.data.split.test + 1

    @property
    def truth(self) -> Values:
        return self.data.label[self.data.split.test, 0]

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.data.split.train) // self.params["training"]["batch_size"])

    def task(self, folder: Path) -> dict[str, Any]:
        """What a peer is told; the series lies in a file."""
        path = folder / f"{self.name.replace(' ', '_')}.npy"
        np.save(path, self.series)
        first = int(self.rows[0])
        return {
            "series": str(path),
            "lookback": self.data.lookback,
            "hidden": HIDDEN,
            "batch": self.params["training"]["batch_size"],
            "steps": self.steps,
            "check_every": self.steps_per_epoch,
            "train_rows": self.data.split.train_rows,
            "first_test": first - 1 - self.data.lookback,
            "first": first,
        }


def read_bars(name: str, params: dict[str, Any]) -> pd.DataFrame:
    dataset = validate(params["datasets"][name], Dataset, f"datasets.{name}")
    raw = open_source(dataset.source, project_root(), dataset.interval).fetch()
    repair = validate(params["bars"], Repair, "bars")
    return prepare(raw, dataset, repair, name=name, now=pd.Timestamp("2026-01-01", tz="UTC")).bars


def ask(name: str, target: str, params: dict[str, Any], steps: int) -> Question:
    """The question with one feature: the series that is forecast."""
    feature = QUESTIONS[target][0]
    bars = read_bars(name, params)
    changed = override(name, target, (feature,), params)
    data = window(name, bars, changed)
    series = FEATURES[feature](bars)
    origins = data.split.test
    if not np.array_equal(data.label[origins, 0], series[origins + 1]) or np.ptp(np.diff(origins)):
        raise SystemExit(f"{name}: the label isn't the next value of {feature}, or test bars are missing")
    return Question(f"{name} {target}", data, bars, changed, series, steps)


def override(name: str, target: str, features: tuple[str, ...], params: dict[str, Any]) -> dict[str, Any]:
    """Params in which a dataset asks for this target, from these features."""
    entry = params["datasets"][name] | {"target": {"kind": target}, "windows": {"features": list(features)}}
    return {**params, "datasets": {name: entry}}


def window(name: str, bars: pd.DataFrame, params: dict[str, Any]) -> WindowedSeries:
    recipe = read_recipe(name, "lstm", params)
    return window_series(bars, recipe.windows, make_target(recipe.target), name)


def train(question: Question, data: WindowedSeries, kind: str, seed: int) -> tuple[Values, float]:
    """Our forecasts of the test bars in label units, and the validation loss in scaled ones."""
    epochs = max(1, question.steps // question.steps_per_epoch)
    training = question.params["training"] | {"seed": seed, "epochs": epochs, "accelerator": "cpu"}
    cells = {kind: {"hidden_size": HIDDEN}}
    name = question.name.split()[0]
    recipe = read_recipe(name, kind, {**question.params, "training": training, "cells": cells})
    done = fit(data, recipe, MemoryRecorder(), name=question.name, quiet=True, diagnose=False)
    with torch.no_grad():
        scaled = done.network.point(data.gather(torch.from_numpy(data.split.test))).double().numpy()
    return data.label_scaler.inverse(scaled)[:, 0], done.validation_loss


def own(question: Question, params: dict[str, Any], seeds: tuple[int, ...]) -> tuple[dict[str, Values], str]:
    """Forecasts of ours, shape [seeds, rows] each, and which of them is compared."""
    found, loss = {}, {}
    for kind in CELLS:
        runs = [train(question, question.data, kind, seed) for seed in seeds]
        found[f"carrossel {kind}"] = np.stack([forecast for forecast, _ in runs])
        loss[kind] = np.mean([validation for _, validation in runs])
    chosen = min(loss, key=loss.__getitem__)
    name, target = question.name.split()
    asked = params["datasets"]["bitcoin_volatility"] if target == "volatility" else params
    changed = override(name, target, tuple(asked["windows"]["features"]), params)
    data = window(name, question.bars, changed)
    if not np.array_equal(data.split.test, question.data.split.test):
        raise SystemExit(f"{question.name}: further features change which bars are tested")
    wide = Question(question.name, data, question.bars, changed, question.series, question.steps)
    found[f"carrossel {chosen}, every feature"] = np.stack([train(wide, data, chosen, seed)[0] for seed in seeds])
    return found, f"carrossel {chosen}"


def forecast_all(
    runner: Runner, tasks: dict[str, dict[str, Any]], rows: dict[str, np.ndarray], seeds: tuple[int, ...]
) -> dict[str, dict[str, Values]]:
    """A peer's forecasts by question and row of the table, each of shape [seeds, rows]."""
    found: dict[str, dict[str, Values]] = {}
    for question, task in tasks.items():
        found[question] = {}
        for cell in CELLS.values():
            runs = [forecast_one(runner, task | {"cell": cell, "seed": seed}, rows[question]) for seed in seeds]
            for weights, note in WEIGHTS.items():
                forecasts = np.stack([np.asarray(run[weights]) for run in runs])
                found[question][f"{runner.name} {cell}{note}"] = forecasts
    return found


def forecast_one(runner: Runner, task: dict[str, Any], rows: np.ndarray) -> dict[str, Any]:
    """One training; what the peer did must be what it was asked to do."""
    run = runner.ask(task)
    did = {"rows": run["rows"], "steps": run["steps"], "window": run["window"]}
    told = {"rows": rows.tolist(), "steps": task["steps"], "window": [task["lookback"], 1]}
    for key, expected in told.items():
        if did[key] != expected:
            raise SystemExit(f"{runner.name}: {key} are {str(did[key])[:200]}, not {str(expected)[:200]}")
    return run


def check_alignment(runner: Runner, folder: Path) -> None:
    """A wave with one bar changed: forecasts must change from the next bar on, for a lookback at most, and none before.

    Raises:
        SystemExit: if the peer's forecasts are shifted against the rows it says they are for, or look ahead.
    """
    lookback, first, changed = 12, 312, 350
    wave = np.sin(0.9 * np.arange(400.0))
    task = {"lookback": lookback, "hidden": 8, "batch": 32, "steps": 4, "check_every": 2, "cell": "LSTM", "seed": 1}
    parts = {"train_rows": 240, "first_test": first - 1 - lookback, "first": first}
    forecasts = []
    for planted in (0.0, 5.0):
        path = folder / f"{runner.name}_wave.npy"
        np.save(path, np.where(np.arange(400) == changed, wave + planted, wave))
        run = forecast_one(runner, task | parts | {"series": str(path)}, np.arange(first, 400))
        forecasts.append(np.array([run[weights] for weights in WEIGHTS]))
    touched = np.flatnonzero((forecasts[0] != forecasts[1]).any(axis=0)) + first
    if not len(touched) or touched[0] != changed + 1 or touched[-1] > changed + lookback:
        raise SystemExit(
            f"{runner.name}: a change in bar {changed} changed its forecasts of bars {touched.tolist()}; {changed + 1} first and "
            f"{changed + lookback} at most were expected, so forecasts and origins don't line up"
        )


def baselines(question: Question) -> dict[str, Values]:
    data, test = question.data, question.data.split.test
    kind = QUESTIONS[question.name.split()[1]][1]
    model = make_baseline(kind)
    model.fit(data)
    return {"persistence": data.unchanged[test, 0][None], kind: model.forecast(data, test)[:, 0][None]}


def tabulate(question: Question, found: dict[str, Values], chosen: str, say: Report) -> tuple[list[str], str]:
    """Print a question's table.

    Returns:
        Peers significantly better than ours, and how the best peer's error compares.
    """
    truth = question.truth
    losses = {name: (forecasts.mean(axis=0) - truth) ** 2 for name, forecasts in found.items()}
    naive = losses["persistence"].mean()
    split = question.data.split
    say()
    say(
        f"{question.name}: {len(truth):,} test bars, {len(split.train):,} training windows, {question.steps} steps; "
        f"persistence's MSE {naive:.4g}, ours is {chosen}"
    )
    say(f"  {'':40} {'skill by seed':>17} {'of mean':>8} {'MSE/ours':>9} {'p better':>9} {'p worse':>8}")
    better, peers = [], {}
    for name, forecasts in found.items():
        skills = 1 - ((forecasts - truth) ** 2).mean(axis=1) / naive
        spread = f"{skills.mean():+.4f} ± {skills.std(ddof=1):.4f}" if len(skills) > 1 else f"{skills.mean():+.4f}"
        line = f"  {name:40} {spread:>17} {1 - losses[name].mean() / naive:+8.4f} "
        if name == chosen:
            say(line + f"{1:9.4f}")
            continue
        difference = losses[name] - losses[chosen]
        p = diebold_mariano(difference, 1).p_better
        say(line + f"{losses[name].mean() / losses[chosen].mean():9.4f} {p:9.3f} {1 - p:8.3f}")
        if name.split()[0] in PINS:
            peers[name] = float(losses[name].mean() / losses[chosen].mean())
            if p < LEVEL:
                better.append(name)
    best = min(peers, key=peers.__getitem__)
    return better, f"{question.name}: best peer {best} at {peers[best]:.4f} of our MSE"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick", action="store_true", help="Google, one seed, fewer steps, under 50 s; installs nothing"
    )
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/accuracy_peers.md")
    options = parser.parse_args()
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.set_num_threads(1)
    absent = [peer for peer in PINS if not is_ready(peer)]
    if options.quick and absent:
        print(f"accuracy_peers: without {', '.join(absent)}, which has no environment yet: run without --quick")
        if len(absent) == len(PINS):
            return 0
    peers = [peer for peer in PINS if peer not in absent or not options.quick]
    for peer in absent if not options.quick else ():
        install(peer)
    seeds = SEEDS[:1] if options.quick else SEEDS
    budget = {"google": QUICK_STEPS} if options.quick else STEPS
    params = yaml.safe_load((project_root() / "params.yaml").read_text(encoding="utf-8"))
    say = Report("accuracy_peers", "torch", "pytorch-lightning", "numba")
    started = time.perf_counter()
    better: list[str] = []
    summaries: list[str] = []
    with (
        tempfile.TemporaryDirectory() as name,
        contextlib.ExitStack() as stack,
        ThreadPoolExecutor(len(peers)) as pool,
    ):
        folder = Path(name)
        runners = [stack.enter_context(Runner(peer, f"forecast_{peer}.py", python_of(peer), folder)) for peer in peers]
        questions = [ask(name, target, params, steps) for name, steps in budget.items() for target in QUESTIONS]
        tasks = {question.name: question.task(folder) for question in questions}
        rows = {question.name: question.rows for question in questions}

        def work(runner: Runner) -> tuple[dict[str, Any], dict[str, dict[str, Values]]]:
            versions = runner.read()
            check_alignment(runner, folder)
            return versions, forecast_all(runner, tasks, rows, seeds)

        pending: list[Future[Any]] = [pool.submit(work, runner) for runner in runners]
        ours = {question.name: own(question, params, seeds) for question in questions}
        answers = [one.result() for one in pending]
        for runner, (versions, _) in zip(runners, answers, strict=True):
            say(f"{runner.name}: {', '.join(f'{key} {value}' for key, value in versions.items())}; forecasts line up")
    say(
        f"one layer of {HIDDEN}, lookback {params['windows']['lookback']}, batch {params['training']['batch_size']}, "
        f"seeds {', '.join(map(str, seeds))}"
    )
    for question in questions:
        forecasts, chosen = ours[question.name]
        found = baselines(question) | forecasts
        for _, answer in answers:
            found |= answer[question.name]
        winners, summary = tabulate(question, found, chosen, say)
        better += [f"{winner} on {question.name}" for winner in winners]
        summaries.append(summary)
    say()
    for summary in summaries:
        say(summary)
    say(f"{time.perf_counter() - started:.0f} s")
    measured = f"better than ours: {'; '.join(better)}" if better else "no peer is significantly better"
    say(
        f"accuracy_peers: {measured}, of {len(questions)} questions (goal: not worse than the best peer by DM at 5 % on any "
        "question)"
    )
    if options.write:
        say.write()
    return int(bool(better))


if __name__ == "__main__":
    sys.exit(main())
