"""neuralforecast's LSTM and GRU, trained once, forecasting every test bar from the bars before it."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import numpy as np
import pandas as pd
from measuring import BestWeights, Steps, serve
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import GRU, LSTM

MODELS = {"LSTM": LSTM, "GRU": GRU}


def forecast(task: dict[str, Any]) -> dict[str, Any]:
    values = np.load(task["series"])
    there = np.isfinite(values)
    frame = pd.DataFrame(
        {
            "unique_id": "series",
            "ds": np.arange(len(values)),
            "y": np.where(there, values, 0.0),
            "available_mask": there.astype(float),
        }
    )
    model = MODELS[task["cell"]](
        h=1,
        input_size=task["lookback"],
        encoder_n_layers=1,
        encoder_hidden_size=task["hidden"],
        loss=MSE(),  # what forecasts are judged by; the default is MAE
        batch_size=1,  # series; windows are the next line
        windows_batch_size=task["batch"],
        training_data_availability_threshold=1.0,  # windows without a missing bar, as everyone's
        max_steps=task["steps"],
        val_check_steps=task["check_every"],
        random_seed=task["seed"],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[Steps("hist_encoder", 0, task["steps"]), BestWeights("ptl/val_loss")],
    )
    library = NeuralForecast(models=[model], freq=1)
    parts = {"test_size": len(values) - task["first"], "val_size": task["first"] - task["train_rows"]}
    last = library.cross_validation(frame, n_windows=None, step_size=1, refit=False, **parts)
    trained = library.models[0]
    steps, best = trained.trainer_kwargs["callbacks"][:2]  # copies of ours
    trained.load_state_dict(best.weights)
    chosen = library.cross_validation(frame, n_windows=None, step_size=1, refit=False, use_fitted=True, **parts)
    if not (last["ds"] - last["cutoff"] == 1).all() or not last["ds"].equals(chosen["ds"]):
        raise ValueError("a forecast isn't for the bar after its cutoff")
    return {
        "rows": last["ds"].tolist(),
        "last": last[task["cell"]].astype(float).tolist(),
        "best": chosen[task["cell"]].astype(float).tolist(),
        "steps": steps.seen,
        "window": steps.shape[1:],
    }


warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
serve(forecast, ["neuralforecast", "torch", "pytorch-lightning"])
