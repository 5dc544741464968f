"""Trials per hour of a study beside a plain Optuna loop that builds a Lightning Trainer per trial, in the same run.

    python benchmarks/tuning.py [--quick] [--write]

Both sides train the very same configurations (hidden size, learning rate, batch size, drawn by a seeded random sampler), the
same epochs, on the same windows of the embedded bitcoin sample. The plain loop is what one writes without us: nn.LSTM, automatic
optimisation, windows made once and kept as a TensorDataset, a DataLoader, a Trainer without logger, checkpoints and bars, a study
in memory; it gets the better of 1 and 2 threads. Ours keeps its study in sqlite, with heartbeats. Neither side tracks runs. What is
paid once, imports and the start of workers, is left out on both sides and told beside the table.
Goal: 4 times as many trials per hour with 2 workers and all measures, early pruning among them; without pruning on either side
is told beside it, and so is the plain loop with the same pruner.

The second table says what it would bring to train several LSTMs of one shape as one batched model on one thread: against the same
networks one after another on our kernels, forward, backward and optimiser step.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
import warnings
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import optuna
import pandas as pd
import psutil
import pytorch_lightning as pl
import torch
from reporting import Report
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state
from torch.utils.data import DataLoader, TensorDataset

from carrossel import cells
from carrossel.bars.config import Dataset, Repair
from carrossel.bars.preparation import prepare
from carrossel.bars.sources.base import open_source
from carrossel.config import project_root, validate
from carrossel.forecaster.network import Network
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.fitting import naive_mse
from carrossel.tuning.conducting import Ongoing, conduct
from carrossel.tuning.config import Where
from carrossel.tuning.crew import open_crew
from carrossel.tuning.crew.alone import Alone
from carrossel.tuning.data import Held
from carrossel.tuning.rows import study_rows
from carrossel.tuning.samplers import Samplers, make_pruner
from carrossel.tuning.space import default_values, draw
from carrossel.tuning.study import Plan, open_study, read_plan
from carrossel.tuning.trial import Job
from carrossel.windows.tensor import WindowedSeries, window_series

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.tuning.crew.base import Crew
    from carrossel.windows.config import Windows
    from carrossel.windows.splitting import Split

GOAL = 4.0
WORKERS = 2
SHARE_WORTH_IT = 1.2
PARAMS = {
    "datasets": {"bitcoin": {"source": {"kind": "sample", "name": "bitcoin"}, "calendar": "24/7", "interval": "1h"}},
    "windows": {"lookback": 48, "features": ["log_return", "log_range", "log_volume_change"]},
    "target": {"kind": "log_return"},
    "head": {"kind": "point"},
    "cells": {"lstm": {"hidden_size": 32}},
    "training": {"epochs": 4, "patience": 99, "accelerator": "cpu"},
    "tuning": {
        "cell": "lstm",
        "sampler": "random",
        "space": {
            "cell.hidden_size": {"kind": "int", "low": 8, "high": 64, "log": True},
            "training.learning_rate": {"kind": "float", "low": 0.0005, "high": 0.02, "log": True},
            "training.batch_size": {"kind": "categorical", "choices": [128, 256, 512]},
        },
    },
}


@dataclass(frozen=True)
class Done:
    """A study that ended: seconds on the clock and of CPU, drawn values by trial, best skill, epochs trained."""

    seconds: float
    cpu_seconds: float
    drawn: list[dict[str, Any]]
    best: float
    epochs: int

    @classmethod
    def of(cls, study: optuna.Study, run: Callable[[], None]) -> Done:
        started, cpu = time.perf_counter(), _cpu_seconds()
        run()
        seconds, cpu = time.perf_counter() - started, _cpu_seconds() - cpu
        trials = study.trials
        epochs = sum(len(trial.intermediate_values) for trial in trials)
        return cls(seconds, cpu, [trial.params for trial in trials], study.best_value, epochs)

    @property
    def per_hour(self) -> float:
        return 3600 * len(self.drawn) / self.seconds


def _cpu_seconds() -> float:
    """Of this process and those it started, such as workers."""
    here = psutil.Process()
    times = [process.cpu_times() for process in (here, *here.children(recursive=True))]
    return sum(each.user + each.system for each in times)


# --- the plain loop ---------------------------------------------------------------------------------------------------


class PlainLstm(pl.LightningModule):
    """What the tutorials have."""

    def __init__(self, features: int, hidden_size: int, learning_rate: float) -> None:
        super().__init__()
        self.lstm = nn.LSTM(features, hidden_size, batch_first=True)
        self.out = nn.Linear(hidden_size, 1)
        self.learning_rate = learning_rate

    def forward(self, x: Tensor) -> Tensor:
        hidden, _ = self.lstm(x)
        return self.out(hidden[:, -1])

    def training_step(self, batch: list[Tensor]) -> Tensor:
        x, y = batch
        loss = nn.functional.mse_loss(self(x), y)
        self.log("train_loss", loss, on_step=False, on_epoch=True)
        return loss

    def validation_step(self, batch: list[Tensor]) -> None:
        x, y = batch
        self.log("validation_mse", nn.functional.mse_loss(self(x), y))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.Adam(self.parameters(), lr=self.learning_rate)


class PlainReports(pl.Callback):
    """Tells the trial each epoch's skill; stops where the pruner says so."""

    def __init__(self, trial: optuna.Trial, naive: float) -> None:
        self.trial, self.naive, self.best, self.pruned = trial, naive, float("-inf"), False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        self.best = max(self.best, 1 - float(trainer.callback_metrics["validation_mse"]) / self.naive)
        self.trial.report(self.best, trainer.current_epoch)
        self.pruned = trainer.should_stop = self.trial.should_prune()


class PlainLoop:
    """A study in memory, a Trainer per trial, all in this process."""

    def __init__(self, data: WindowedSeries) -> None:
        self.naive = naive_mse(data)
        parts = [torch.from_numpy(rows) for rows in (data.split.train, data.split.validation)]
        self.train, self.validation = (
            TensorDataset(data.gather(rows).contiguous(), data.labels[rows]) for rows in parts
        )

    def run(self, plan: Plan, drawn: list[dict[str, Any]], threads: int) -> Done:
        torch.set_num_threads(threads)
        study = optuna.create_study(direction="maximize", pruner=make_pruner(plan.config))
        for values in drawn:
            study.enqueue_trial(values)
        return Done.of(study, lambda: study.optimize(lambda trial: self._objective(trial, plan), n_trials=len(drawn)))

    def _objective(self, trial: optuna.Trial, plan: Plan) -> float:
        recipe = draw(plan.recipe, plan.config.space, trial, plan.params)
        pl.seed_everything(1, verbose=False)
        reports = PlainReports(trial, self.naive)
        trainer = pl.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=plan.config.epochs,
            gradient_clip_val=recipe.training.clip_norm,
            callbacks=[reports],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            num_sanity_val_steps=0,
        )
        model = PlainLstm(
            self.train.tensors[0].shape[2], recipe.cell.hidden_size, learning_rate=recipe.training.learning_rate
        )
        batch = recipe.training.batch_size
        trainer.fit(
            model,
            DataLoader(self.train, batch_size=batch, shuffle=True),
            DataLoader(self.validation, batch_size=2048),
        )
        if reports.pruned:
            raise optuna.TrialPruned
        return reports.best


# --- ours -------------------------------------------------------------------------------------------------------------


class Silent:
    """Nobody watches."""

    def started(self, *_: Any) -> None: ...

    def reported(self, *_: Any) -> None: ...

    def ended(self, *_: Any, **__: Any) -> None: ...


class MadeAnew:
    """What a study does that shares nothing: windows from bars in every trial."""

    folds = 1

    def __init__(self, bars: pd.DataFrame, split: Split) -> None:
        self.bars, self.split = bars, split

    def windowed(self, windows: Windows, target: TargetConfig, fold: int) -> WindowedSeries:
        del fold
        return window_series(self.bars, windows, make_target(target), "bitcoin", self.split)


def run_ours(plan: Plan, crew: Crew, scratch: Path) -> Done:
    """A study through the driver, sqlite and heartbeats included; its making is left out."""
    with tempfile.TemporaryDirectory(dir=scratch) as root:
        study = open_study(plan, Path(root))
        ongoing = Ongoing(
            study, plan.label, plan.config.trials, lambda trial: _job(plan, trial), Samplers(plan.config).for_trial
        )
        done = Done.of(study, lambda: conduct([ongoing], crew, Silent()))
        study._storage.remove_session()  # noqa: SLF001 - else the file would be open when its folder goes
        return done


def _job(plan: Plan, trial: optuna.Trial) -> Job:
    recipe = draw(plan.recipe, plan.config.space, trial, plan.params)
    training = recipe.training.model_copy(update={"epochs": plan.config.epochs})
    return Job(
        plan.name,
        trial.number,
        f"trial {trial.number}",
        replace(recipe, training=training),
        prunable=plan.config.pruner != "none",
    )


def make_bars() -> pd.DataFrame:
    dataset = validate(PARAMS["datasets"]["bitcoin"], Dataset, "datasets.bitcoin")
    raw = open_source(dataset.source, project_root(), dataset.interval).fetch()
    return prepare(raw, dataset, Repair(), name="bitcoin", now=pd.Timestamp("2026-01-01", tz="UTC")).bars


def plan_of(trials: int, epochs: int, pruner: str = "none") -> Plan:
    tuning = {**PARAMS["tuning"], "trials": trials, "epochs": epochs, "pruner": pruner, "prune_after": 1}
    return read_plan("bitcoin", {**PARAMS, "tuning": tuning}, "benchmark")


def draws_of(plan: Plan) -> list[dict[str, Any]]:
    """The values that the study will try: the default, then what its sampler draws."""
    samplers, study = Samplers(plan.config), optuna.create_study()
    study.enqueue_trial(default_values(plan.recipe, plan.config.space))
    for number in range(plan.config.trials):
        study.sampler = samplers.for_trial(study, number)
        draw(plan.recipe, plan.config.space, study.ask(), plan.params)
    return [trial.params for trial in study.trials]


LADDER = {
    "plain 1": "plain loop, 1 thread",
    "plain 2": "plain loop, 2 threads",
    "path": "our training path, 1 process, windows made by each trial",
    "once": "+ windows made once and mapped",
    "workers": f"+ {WORKERS} warm workers of 1 thread",
    "workers pruned": "+ asha, which ends two of three trials after an epoch",
    "plain pruned": "plain loop with asha",
}


def measure_ladder(
    say: Report, *, newest: int, trials: int, epochs: int, rounds: int, quick: bool
) -> tuple[float, float]:
    """Trials per hour of every rung; how many times the plain loop's with all measures, and without pruning."""
    bars = make_bars().tail(newest).reset_index(drop=True)
    plan, pruned = plan_of(trials, epochs), plan_of(trials, epochs, "asha")
    drawn = draws_of(plan)
    rows = study_rows(bars, plan.recipe, plan.config.space, 1, "bitcoin")
    seen = bars.iloc[: rows.end]
    found: dict[str, list[Done]] = {rung: [] for rung in LADDER}
    with ExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        held = Held.share("bitcoin", seen, rows.folds, scratch / "shared")
        anew: Any = MadeAnew(seen, rows.folds[0])
        loop = PlainLoop(anew.windowed(plan.recipe.windows, plan.recipe.target, 0))
        started = time.perf_counter()
        crew = stack.enter_context(open_crew(Where(workers=WORKERS), held, scratch / "workers", "tuning"))
        run_ours(plan_of(2 * WORKERS, 1), crew, scratch)  # imports, kernels, windows: paid once
        ready = time.perf_counter() - started
        run_ours(plan_of(1, 1), Alone(held), scratch)
        loop.run(plan_of(1, 1), drawn[:1], 1)
        runs: dict[str, Callable[[], Done]] = {
            "plain 1": lambda: loop.run(plan, drawn, 1),
            "plain 2": lambda: loop.run(plan, drawn, 2),
            "path": lambda: run_ours(plan, Alone(anew), scratch),
            "once": lambda: run_ours(plan, Alone(held), scratch),
            "workers": lambda: run_ours(plan, crew, scratch),
            "workers pruned": lambda: run_ours(pruned, crew, scratch),
            "plain pruned": lambda: loop.run(pruned, drawn, _faster(found)),
        }
        if quick:
            del runs["plain 1"], runs["path"], runs["once"], runs["plain pruned"]
        for turn in range(rounds):  # each goes first in turn: the machine may speed up or slow down
            unpruned = [rung for rung in runs if "pruned" not in rung]
            for rung in [*unpruned[:: 1 if turn % 2 == 0 else -1], *(rung for rung in runs if "pruned" in rung)]:
                found[rung].append(runs[rung]())
                print(f"round {turn + 1}: {LADDER[rung]}, {found[rung][-1].seconds:.1f} s", file=sys.stderr, flush=True)
                if found[rung][-1].drawn != drawn:
                    raise SystemExit(f"{LADDER[rung]}: trained other configurations than the plain loop")
    return _tell(say, found, ready)


def _faster(found: dict[str, list[Done]]) -> int:
    """Threads that serve the plain loop better."""
    measured = [threads for threads in (1, 2) if found[f"plain {threads}"]]
    return min(measured, key=lambda threads: statistics.median(done.seconds for done in found[f"plain {threads}"]))


def _tell(say: Report, found: dict[str, list[Done]], ready: float) -> tuple[float, float]:
    plain = f"plain {_faster(found)}"
    ratios: dict[str, float] = {}
    say(f"{'':58} {'trials/h':>9} {'CPU s a trial':>14} {'epochs':>7} {'best skill':>11}  times what")
    for rung, runs in found.items():
        if not runs:
            continue
        pairs = zip(runs, found[plain], strict=True)
        ratios[rung] = statistics.median(mine.per_hour / theirs.per_hour for mine, theirs in pairs)
        rate = statistics.median(done.per_hour for done in runs)
        what = f"{ratios[rung]:.2f} x {LADDER[plain]}"
        cpu = statistics.median(done.cpu_seconds / len(done.drawn) for done in runs)
        say(f"{LADDER[rung]:58} {rate:9,.0f} {cpu:14.2f} {runs[-1].epochs:7} {runs[-1].best:+11.4f}  {what}")
    say(f"{WORKERS} workers were ready after {ready:.0f} s, which is paid once a study")
    return ratios["workers pruned"], ratios["workers"]


# --- what batching would bring ----------------------------------------------------------------------------------------


class Looped(nn.Module):
    """An LSTM as a loop over time with a linear head, for vmap: torch's own layer has no batching rule."""

    def __init__(self, features: int, hidden: int) -> None:
        super().__init__()
        self.weight_x = nn.Parameter(torch.randn(features, 4 * hidden) / features**0.5)
        self.weight_h = nn.Parameter(torch.randn(hidden, 4 * hidden) / hidden**0.5)
        self.bias = nn.Parameter(torch.zeros(4 * hidden))
        self.head = nn.Parameter(torch.randn(hidden, 1) / hidden**0.5)

    def forward(self, x: Tensor) -> Tensor:
        """x: [time, batch, features]."""
        projected = x @ self.weight_x + self.bias
        h = c = x.new_zeros(x.shape[1], self.weight_h.shape[0])
        for step in projected.unbind(0):
            h, c = lstm_step(step + h @ self.weight_h, c)
        return h @ self.head


def lstm_step(gates: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, g, o = gates.chunk(4, dim=-1)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * c.tanh(), c


def by_bmm(weights: dict[str, Tensor], x: Tensor) -> Tensor:
    """All models at once, [models, batch, 1]; they see the same windows, as trials of one seed and batch size do."""
    projected = torch.einsum("tbf,kfg->tkbg", x, weights["weight_x"]) + weights["bias"][:, None]
    h = c = x.new_zeros(*projected.shape[1:3], weights["weight_h"].shape[1])
    for step in projected.unbind(0):
        h, c = lstm_step(torch.baddbmm(step, h, weights["weight_h"]), c)
    return h @ weights["head"]


def time_batching(models: int, hidden: int, x: Tensor, y: Tensor, repeats: int) -> dict[str, float]:
    """CPU milliseconds of one optimiser step of all models: ours one after another, batched by bmm, by vmap."""
    config = cells.registry.load("lstm").Config(hidden_size=hidden)
    networks = [Network("lstm", config, x.shape[2], seed) for seed in range(models)]
    ours = [torch.optim.AdamW(network.parameters(), lr=1e-3, fused=True) for network in networks]
    windows = x.transpose(0, 1).contiguous()

    def one_after_another() -> None:
        for network, optimizer in zip(networks, ours, strict=True):
            loss = network.head.loss(network(windows), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    def batched(forward: Callable[[dict[str, Tensor], Tensor], Tensor]) -> Callable[[], None]:
        stacked, _ = stack_module_state([Looped(x.shape[2], hidden) for _ in range(models)])
        weights = {name: value.detach().clone().requires_grad_() for name, value in stacked.items()}
        optimizer = torch.optim.AdamW(weights.values(), lr=1e-3, fused=True)

        def step() -> None:
            loss = (forward(weights, x) - y).square().mean(dim=(1, 2)).sum()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

        return step

    base = Looped(x.shape[2], hidden).to("meta")
    by_vmap = torch.vmap(lambda weights, x: functional_call(base, weights, (x,)), in_dims=(0, None))
    steps = {"one after another": one_after_another, "bmm": batched(by_bmm), "vmap": batched(by_vmap)}
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for turn in range(repeats + 2):
        for name, step in steps.items():
            started = time.process_time()  # one thread: what it takes of the CPU, however busy others keep the machine
            step()
            if turn > 1:
                seconds[name].append(time.process_time() - started)
    return {name: 1e3 * statistics.median(column) for name, column in seconds.items()}


def measure_batching(say: Report, hidden: tuple[int, ...], models: tuple[int, ...], repeats: int) -> None:
    torch.set_num_threads(1)
    x, y = torch.randn(48, 256, 3), torch.randn(256, 1)
    best = 0.0
    say(f"{'what batching trials would bring':58} {'ours, ms':>9} {'bmm':>8} {'vmap':>8}  times ours' speed")
    for size in hidden:
        for count in models:
            found = time_batching(count, size, x, y, repeats)
            ours, bmm, vmap = found.values()
            best = max(best, ours / min(bmm, vmap))
            label = f"{count} LSTMs of {size} units, B = 256, 48 steps, 1 thread"
            say(f"{label:58} {ours:9.1f} {bmm:8.1f} {vmap:8.1f}  {ours / min(bmm, vmap):.2f}")
    verdict = "worth it" if best > SHARE_WORTH_IT else "not worth it: one after another is as fast or faster"
    say(f"batched at best {best:.2f} times as fast as one after another (worth it from {SHARE_WORTH_IT}): {verdict}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer trials, epochs and repeats, under 50 s")
    parser.add_argument("--write", action="store_true", help="write benchmarks/results/tuning.md")
    options = parser.parse_args()
    quick = options.quick
    warnings.filterwarnings("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    say = Report("tuning", "torch", "pytorch-lightning", "optuna", "numba")
    newest, trials, epochs, rounds = (6_000, 8, 3, 1) if quick else (8_000, 18, 3, 3)
    busy = os.getloadavg()[0]
    say(
        f"{trials} trials of {epochs} epochs, newest {newest:,} hours of bitcoin, windows of 48, 3 features; {rounds} rounds; "
        f"load {busy:.1f} on {os.cpu_count()} cores when it began"
    )
    ratio, unpruned = measure_ladder(say, newest=newest, trials=trials, epochs=epochs, rounds=rounds, quick=quick)
    say()
    measure_batching(say, (32,) if quick else (16, 32, 64), (4,) if quick else (4, 8), 3 if quick else 9)
    say()
    say(
        f"tuning: {ratio:.2f} x the plain loop's trials per hour with {WORKERS} workers, {unpruned:.2f} x with nothing pruned "
        f"(at least {GOAL:g})"
    )
    if options.write:
        say.write(NOTES)
    return int(ratio < GOAL)


NOTES = """\
Each rung holds what the ones above it brought. `CPU s a trial` is of all processes together: what a rung saves there it saves on
any number of cores; workers bring the rest. Skills differ between the sides by the initial weights and the order of windows.

What sharing saves in memory: 6,000,000 bars (336 MB of bars and folds, 144 MB of windows), two workers that have looked at
everything once, anonymous memory of each above the 340 MB of its imports (2026-11-22): 88 and 90 MB where bars and windows are
mapped, 516 and 508 MB where bars are sent to each and windows made there.
"""


if __name__ == "__main__":
    sys.exit(main())
