"""darts' BlockRNNModel, trained once, forecasting every test bar from the bars before it."""

from __future__ import annotations

import logging
import warnings
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
from darts import TimeSeries
from darts.dataprocessing.transformers import Scaler
from darts.models import BlockRNNModel
from measuring import BestWeights, Steps, serve


def forecast(task: dict[str, Any]) -> dict[str, Any]:
    values = np.load(task["series"]).astype(np.float32)
    train = stretches(values, 0, task["train_rows"], task["lookback"] + 1)
    scaler = Scaler(global_fit=True).fit(train)  # darts' models don't scale; its guides do, by this one's defaults
    steps, best = Steps("rnn", 0, task["steps"]), BestWeights("val_loss")
    model = BlockRNNModel(
        input_chunk_length=task["lookback"],
        output_chunk_length=1,
        model=task["cell"],
        hidden_dim=task["hidden"],
        n_rnn_layers=1,
        batch_size=task["batch"],
        n_epochs=task["steps"],  # more than needed: steps are counted
        random_state=task["seed"],
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": task["steps"],
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "callbacks": [steps, best],
        },
    )
    validation = stretches(values, task["train_rows"], task["first_test"], task["lookback"] + 1)
    model.fit(scaler.transform(train), val_series=scaler.transform(validation), dataloader_kwargs={"pin_memory": False})
    seen = steps.seen  # forecasting calls the network too
    (rest,) = stretches(values, task["first"] - task["lookback"], len(values), 1)

    def forecast_rest() -> TimeSeries:
        found = model.historical_forecasts(
            scaler.transform(rest), start=task["first"], forecast_horizon=1, stride=1, retrain=False, verbose=False
        )
        return scaler.inverse_transform(found)

    last = forecast_rest()
    model.model.load_state_dict(best.weights)
    chosen = forecast_rest()
    if not last.time_index.equals(chosen.time_index):
        raise ValueError("two forecasts of the same bars have different times")
    return {
        "rows": last.time_index.tolist(),
        "last": last.values()[:, 0].astype(float).tolist(),
        "best": chosen.values()[:, 0].astype(float).tolist(),
        "steps": seen,
        "window": steps.shape[1:],
    }


def stretches(values: np.ndarray, start: int, end: int, shortest: int) -> list[TimeSeries]:
    """Series without a missing bar, each at least so long; a bar's time is its row."""
    there = np.isfinite(values[start:end])
    edges = [start, *(start + 1 + np.flatnonzero(there[1:] != there[:-1])), end]
    return [
        TimeSeries.from_times_and_values(pd.RangeIndex(first, last), values[first:last])
        for first, last in pairwise(edges)
        if np.isfinite(values[first]) and last - first >= shortest
    ]


warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
logging.getLogger("darts").setLevel(logging.ERROR)
serve(forecast, ["darts", "torch", "pytorch-lightning"])
