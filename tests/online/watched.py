"""A small project with a replayed series, a stored model and a loop, for tests."""

from __future__ import annotations

import json
import threading
from types import SimpleNamespace

import pandas as pd
import torch

from carrossel import cells
from carrossel.bars.archive import Archive
from carrossel.bars.config import Dataset, Repair
from carrossel.bars.sources.base import open_source
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.network import Network
from carrossel.forecaster.stored import save
from carrossel.online.champion import Champion
from carrossel.online.config import Drift, Watch
from carrossel.online.predictions import PredictionStore
from carrossel.online.watching.answers import Answers
from carrossel.online.watching.loop import Loop
from carrossel.online.watching.tail import Tail
from carrossel.targets.base import TargetConfig
from carrossel.windows.config import Windows
from carrossel.windows.question import Question

LOOKBACK = 6
START = pd.Timestamp("2020-01-05T04:00:00Z")  # bar 100 of the series


def write_model(
    folder, kind="gru", *, state_seed=1, target="log_return", head="point", features=("log_return", "log_range"), **keys
):
    """A model folder with random weights; the scalers are those of hourly bars that move by 1 %."""
    folder.mkdir(parents=True)
    windows = Windows(lookback=LOOKBACK, features=features, horizon=keys.pop("horizon", 1))
    config = cells.registry.load(kind).Config(
        hidden_size=keys.pop("hidden_size", 4), layers=keys.pop("layers", 2), **keys
    )
    section = TargetConfig(kind=target)
    network = Network(
        kind, config, len(features), state_seed, read_head({"kind": head}, section), horizons=len(windows.horizons)
    )
    with torch.no_grad():
        network.head.linear.weight.mul_(0.3)
    count = len(windows.horizons)
    manifest = {
        "cell": {"kind": kind, "config": config.model_dump(mode="json")},
        "windows": windows.model_dump(mode="json"),
        "target": section.model_dump(mode="json"),
        "head": {"kind": head},
        "scalers": {
            "features": {"center": [0.0] * len(features), "scale": [0.01] * len(features)},
            "label": {"center": [0.0] * count, "scale": [0.01 if target == "log_return" else 1.0] * count},
        },
        "bars": {"needed": LOOKBACK + 1, "columns": ["open", "high", "low", "close", "volume"]},
        "interval": {"level": 0.9, "relative": target == "log_return", "half_width": [0.02] * count},
    }
    save(folder, network, manifest)
    return folder


def make_dataset(length=400, **keys):
    source = {
        "kind": "replay",
        "of": {"kind": "synthetic", "process": "random_walk", "length": length},
        "start": START.isoformat(),
    }
    return Dataset.model_validate({"source": source, "interval": "1h", **keys})


def make_loop(
    root, champion=None, *, dataset=None, watch=None, retraining=None, horizon=1, target="log_return", store=None
):
    """A loop over the replayed series; `events` gets what it tells, `champion` can be changed."""
    dataset = dataset or make_dataset()
    events = []
    serving = SimpleNamespace(
        champion=champion or Champion("walk", None, None, "persistence serves: walk has no champion")
    )
    tail = Tail(Archive(root / "archive", dataset.interval), dataset, Repair(), "walk")
    store = store or PredictionStore.open(root, f"sqlite:///{root / 'online.db'}")
    watch = watch or Watch()
    question = Question(
        Windows(lookback=LOOKBACK, features=("log_return",), horizon=horizon), TargetConfig(kind=target)
    )
    loop = Loop(
        dataset="walk",
        source=open_source(dataset.source, root, dataset.interval),
        archive=tail.archive,
        tail=tail,
        answers=Answers("walk", question, watch.state, store, tail.clockwork),
        store=store,
        retraining=retraining or NoRetraining(),
        find_champion=lambda _present, _ask: serving.champion,
        tell=lambda event: events.append(json.loads(json.dumps(event, allow_nan=False))),
        watch=watch,
        drift=Drift(),
        clock=lambda: pd.Timestamp("2026-01-01", tz="UTC"),
    )
    return SimpleNamespace(loop=loop, events=events, serving=serving, store=store, stop=threading.Event(), tail=tail)


def run(made, bars):
    return made.loop.run(made.stop, bars=bars)


class NoRetraining:
    """Counts how often it was started; runs until `ended` is set."""

    def __init__(self):
        self.started, self.running, self.ended, self.reason = 0, False, None, None

    def start(self, reason):
        self.started, self.running, self.reason = self.started + 1, True, reason

    def poll(self, wait=0.0):
        del wait
        if not self.running or self.ended is None:
            return None
        self.running, ended, self.ended = False, self.ended, None
        return ended

    def stop(self):
        self.running = False
