"""Training windows per second of LSTM, GRU and RNN beside neuralforecast and darts, in turn in one run.

    python benchmarks/peers.py [--quick] [--write]

Each library runs in an environment of its own under `.carrossel/peers`, made once with pip from the pins below (minutes,
about 1.7 GB each); ours in the project's. All train one layer with a linear head on the last hidden state, one
forecast ahead, on the scaled log returns of the same random walk, with MSE, fused Adam (faster than the peers' default),
one thread, the same hidden size, batch, lookback, seed and number of optimiser steps.

A window is one sequence of `LOOKBACK` values that goes forward and backward through the recurrent layer. It is counted
where it enters that layer, and its shape is checked there:

- neuralforecast (`common/_base_model.py`): with `recurrent=False` a step draws `windows_batch_size` windows of
  `input_size + h` values from one batch of series (here one series) and runs `nn.LSTM` / `GRU` / `RNN` over `input_size`.
  An epoch is one pass over the series, which for one series is one step: that cost belongs to each step.
- darts (`models/forecasting/block_rnn_model.py`): `BlockRNNModel` runs the same layers over `input_chunk_length` values and
  maps the last outputs to `output_chunk_length`. (`RNNModel` trains on whole sequences, one loss for each value.) Samples
  are looked up one at a time and stacked; loader workers would be further processes.
- ours: `carrossel.training.fitting.fit` as `train` calls it. What peers have turned off (checkpoint, validation, early
  stopping, gradient clipping, diagnostics, logging) is on, and its time counts, between epochs too.

Time is from the end of the warm-up to the end of the last step (ours: of its chunk of minibatches), ratios are medians of
those within a round. The peers' GRU is our `gru_reset_after`; `gru` is the original form, shown beside the same peers.
Goals, for LSTM and GRU: at least 8 × neuralforecast, 5 × darts.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from peers import PINS, Runner, install, is_ready, python_of

from carrossel.files import write_text

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "peers.md"

GOALS = {"neuralforecast": 8.0, "darts": 5.0}
CELLS = {"lstm": "LSTM", "gru_reset_after": "GRU", "gru": "GRU", "rnn": "RNN"}
JUDGED = ("lstm", "gru_reset_after", "gru")
LOOKBACK, BATCH, POINTS = 60, 256, 30_000

Rates = dict[tuple[str, str], list[float]]
"""Windows per second of each round, by library and cell."""


def train(runner: Runner, cell: str, settings: dict[str, Any]) -> float:
    """Windows per second."""
    found = runner.ask(settings | {"cell": cell})
    if found["window"] != [LOOKBACK, 1]:
        raise SystemExit(f"{runner.name} trained on windows of {found['window']}, not {[LOOKBACK, 1]}")
    return found["windows"] / found["seconds"]


def describe_machine() -> str:
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown CPU")
    return f"{model}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"


def tabulate(rates: Rates) -> list[str]:
    lines = [
        "| ours | windows/s | peers' | " + " | ".join(f"{peer} | ours over it" for peer in PINS) + " |",
        "|---|---:|---|" + "---:|" * 2 * len(PINS),
    ]
    for ours, theirs in CELLS.items():
        row = [ours, f"{statistics.median(rates['carrossel', ours]):,.0f}", theirs]
        for peer in PINS:
            row += [f"{statistics.median(rates[peer, theirs]):,.0f}", f"{compare(rates, ours, peer):.2f} ×"]
        lines.append("| " + " | ".join(row) + " |")
    return lines


def compare(rates: Rates, ours: str, peer: str) -> float:
    pairs = zip(rates["carrossel", ours], rates[peer, CELLS[ours]], strict=True)
    return statistics.median(own / other for own, other in pairs)


def measure(settings: dict[str, Any], rounds: int) -> tuple[list[str], Rates]:
    """What was run, as lines for people, and how fast."""
    rates: Rates = {}
    pythons = {"carrossel": Path(sys.executable)} | {peer: python_of(peer) for peer in PINS}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        runners = {
            name: stack.enter_context(Runner(name, f"run_{name}.py", python, Path(folder)))
            for name, python in pythons.items()
        }
        versions = {name: runner.read() for name, runner in runners.items()}
        for cell in CELLS:  # kernels compile or load
            train(runners["carrossel"], cell, settings | {"steps": 1})
        for _ in range(rounds):
            for theirs in dict.fromkeys(CELLS.values()):
                turns = [("neuralforecast", theirs), *(("carrossel", own) for own in CELLS if CELLS[own] == theirs)]
                for name, cell in (*turns, ("darts", theirs)):
                    rates.setdefault((name, cell), []).append(train(runners[name], cell, settings))
    lines = [f"{dt.datetime.now(dt.UTC).date()}, {describe_machine()}"]
    lines += [
        f"{name}: {', '.join(f'{key} {value}' for key, value in found.items())}" for name, found in versions.items()
    ]
    lines.append(
        f"one layer of {settings['hidden']} units, batch {BATCH}, lookback {LOOKBACK}, {POINTS:,} points, one thread, "
        f"{settings['steps']} steps after {settings['warm_up']}, {rounds} rounds"
    )
    return lines, rates


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps and rounds, under 50 s; installs nothing")
    parser.add_argument("--write", action="store_true", help=f"keep what was found in {RESULTS.relative_to(ROOT)}")
    parser.add_argument("--hidden", type=int, default=32, help="units of the layer")
    arguments = parser.parse_args()
    absent = [peer for peer in PINS if not is_ready(peer)]
    if absent and arguments.quick:
        print(f"peers: skipped; no environment for {', '.join(absent)} yet: run {Path(__file__).name} without --quick")
        return 0
    for peer in absent:
        install(peer)
    steps, rounds = (16, 2) if arguments.quick else (96, 7)
    settings = {"points": POINTS, "seed": 1, "lookback": LOOKBACK, "hidden": arguments.hidden, "batch": BATCH}
    setting, rates = measure(settings | {"warm_up": 8, "steps": steps}, rounds)
    worst = {peer: min(compare(rates, ours, peer) for ours in JUDGED) for peer in PINS}
    reached = ", ".join(f"{ratio:.2f} × {peer}" for peer, ratio in worst.items())
    goals = ", ".join(f"≥ {goal:g} × {peer}" for peer, goal in GOALS.items())
    verdict = f"peers: least of LSTM and GRU {reached}  (goal {goals} for LSTM and GRU)"
    table = tabulate(rates)
    print("\n".join([*setting, "", *table, "", verdict]))
    if arguments.write:
        notes = [f"- {line}" for line in setting]
        write_text(RESULTS, "\n".join(["# benchmarks/peers.py", "", *notes, "", *table, "", verdict, ""]))
    return int(any(worst[peer] < goal for peer, goal in GOALS.items()))


if __name__ == "__main__":
    sys.exit(main())
