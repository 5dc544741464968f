"""Small real networks for gate, promotion and champion: each expects a share of the last log return to come again."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import torch

from carrossel import cells
from carrossel.forecaster.network import Network
from carrossel.forecaster.stored import load, save

if TYPE_CHECKING:
    from pathlib import Path

ROWS, VALIDATION, TEST = 900, 200, 500  # bars; origins from which on a part begins
TRUE_SHARE = 0.3
LOOKBACK = 4


def make_trending_bars(rows: int = ROWS, seed: int = 3) -> pd.DataFrame:
    """Canonical hourly bars whose log return is 0.3 of the one before plus 1 % of noise: 9 % of its variance is foreseeable."""
    noise = np.random.default_rng(seed).normal(0, 0.01, rows)
    returns = np.zeros(rows)
    for row in range(1, rows):
        returns[row] = TRUE_SHARE * returns[row - 1] + noise[row]
    close = 100 * np.exp(np.cumsum(returns))
    return pd.DataFrame(
        {
            "timestamp": pd.date_range("2020-01-01", periods=rows, freq="h", tz="UTC", unit="ns"),
            "open": close,
            "high": close * 1.01,
            "low": close * 0.99,
            "close": close,
            "volume": 1.0,
            "status": "observed",
        }
    )


def write_model(folder: Path, share: float, bars: pd.DataFrame, **manifest: Any) -> Path:
    """A model folder, the network's own forecasts of `bars` in it; `manifest` replaces keys."""
    torch.set_num_threads(1)
    config = cells.registry.load("rnn").Config(hidden_size=1)
    network = Network("rnn", config, 1, seed=0)
    with torch.no_grad():
        # tanh is linear to 1 part in 1,000 where its argument is small
        weights = {"layers.0.weight_x": 0.01, "head.linear.weight": 100 * share}
        for name, parameter in network.named_parameters():
            parameter.fill_(weights.get(name, 0.0))
    stamps = bars["timestamp"]
    rest = {
        "dataset": folder.parent.name,
        "competitor": folder.name,
        "cell": {"kind": "rnn", "config": config.model_dump()},
        "windows": {"lookback": LOOKBACK, "horizon": 1, "features": ["log_return"]},
        "target": {"kind": "log_return"},
        "head": {"kind": "point"},
        "unit": "price",
        "training": {"seed": 1},
        "scalers": {"features": {"center": [0.0], "scale": [0.01]}, "label": {"center": [0.0], "scale": [0.01]}},
        "bars": {"first": f"{stamps.iloc[0]}", "last": f"{stamps.iloc[-1]}", "needed": LOOKBACK + 1, "columns": []},
        "split": {
            "validation": {"first": f"{stamps[VALIDATION]}", "last": f"{stamps[TEST - 3]}"},
            "test": {"first": f"{stamps[TEST]}", "last": f"{stamps.iloc[-2]}"},
        },
        "data_sha256": "d" * 64,
        "code_revision": "0123abc",
    }
    folder.mkdir(parents=True)
    save(folder, network, {**rest, **manifest})
    found = load(folder).predict(bars)
    row = pd.Index(stamps).get_indexer(found["origin"])
    found = found.assign(
        split=np.select([(row >= VALIDATION) & (row < TEST - 2), row >= TEST], ["validation", "test"], ""),
        time=found["origin"] + pd.Timedelta("1h"),
        unchanged=found["last_close"],
        truth=bars["close"].shift(-1).to_numpy()[row],
    )
    found[(found["split"] != "") & found["truth"].notna()].to_parquet(folder / "forecasts.parquet", index=False)
    (folder / "history.csv").write_text("epoch,train_loss,validation_loss\n0,1.0,1.0\n")
    return folder


def write_evaluation(root: Path, dataset: str, verdict: str = "beats persistence", **skills: float) -> None:
    """reports/evaluation/D.json in which each competitor has one skill on both parts."""
    rows = {name: {"skill": skill} for name, skill in skills.items()}
    judgements = {
        name: {"verdict": verdict, "p_corrected": 0.001, "tried": 2, "skill": skills[name]} for name in skills
    }
    file = root / "reports" / "evaluation" / f"{dataset}.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    evaluation = {"dataset": dataset, "rows": {"validation": rows, "test": rows}, "judgements": judgements}
    file.write_text(json.dumps(evaluation))
