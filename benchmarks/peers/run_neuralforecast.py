"""neuralforecast's recurrent models."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import pandas as pd
import torch
from measuring import Steps, random_walk, scaled_returns, serve
from neuralforecast import NeuralForecast
from neuralforecast.losses.pytorch import MSE
from neuralforecast.models import GRU, LSTM, RNN

MODELS = {"LSTM": LSTM, "GRU": GRU, "RNN": RNN}


def train(task: dict[str, Any]) -> dict[str, Any]:
    values = scaled_returns(random_walk(task["points"], task["seed"]))
    frame = pd.DataFrame(
        {"unique_id": "series", "ds": pd.date_range("2020-01-01", periods=len(values), freq="min"), "y": values}
    )
    steps = task["warm_up"] + task["steps"]
    model = MODELS[task["cell"]](
        h=1,
        input_size=task["lookback"],
        recurrent=False,  # direct, as ours: the last hidden state through a linear layer
        encoder_n_layers=1,
        encoder_hidden_size=task["hidden"],
        decoder_layers=1,
        loss=MSE(),
        learning_rate=1e-3,
        optimizer=torch.optim.Adam,
        optimizer_kwargs={"fused": True},
        batch_size=1,  # series; windows are the next line
        windows_batch_size=task["batch"],
        scaler_type="identity",
        max_steps=steps,
        val_check_steps=steps,
        random_seed=task["seed"],
        accelerator="cpu",
        devices=1,
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        callbacks=[Steps("hist_encoder", task["warm_up"], task["steps"])],
    )
    forecast = NeuralForecast(models=[model], freq="min")
    forecast.fit(frame, val_size=0)
    found: Steps = forecast.models[0].trainer_kwargs["callbacks"][0]  # a copy of ours
    return found.result


warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
serve(train, ["neuralforecast", "torch", "pytorch-lightning", "numpy"])
