"""A small study for tests: a recurrent network of a few units on a random walk."""

import contextlib

from carrossel import cells
from carrossel.config import validate
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig
from carrossel.training.config import Recipe, Training
from carrossel.tuning.config import Tuning
from carrossel.tuning.study import Plan, run_study
from carrossel.windows.config import Windows

SPACE = {
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 6},
    "training.learning_rate": {"kind": "float", "low": 1e-3, "high": 1e-2, "log": True},
}
PARAMS = {"cells": {"rnn": {"hidden_size": 3}, "gru": {"hidden_size": 7}}}
RECIPE = Recipe(
    "walk",
    "tuned",
    "rnn",
    cells.registry.load("rnn").Config(hidden_size=3),
    Windows(lookback=4, features=("log_return",)),
    TargetConfig(kind="log_return"),
    HeadConfig(kind="point"),
    Training(epochs=9, batch_size=32, accelerator="cpu"),
)


def tuning(**changes):
    values = {"cell": "rnn", "trials": 3, "epochs": 2, "prune_after": 0, "space": SPACE, **changes}
    return validate(values, Tuning, "tuning")


def plan(**changes):
    return Plan(RECIPE, tuning(**changes), PARAMS, "hash")


class Runs:
    """Opens runs in memory and remembers them."""

    def __init__(self):
        self.opened = []

    @contextlib.contextmanager
    def __call__(self, dataset, name, *, key, parent_run_id=None, resume_run_id=None, **rest):
        recorder = MemoryRecorder()
        recorder.run_id = name
        self.opened.append((name, parent_run_id, resume_run_id, recorder))
        yield recorder


class Quiet:
    """Progress that nobody looks at."""

    def started(self, *_, **__):
        pass

    reported = ended = started


def run(root, bars, runs=None, progress=None, **changes):
    return run_study(plan(**changes), bars, root, open_run=runs or Runs(), progress=progress or Quiet())
