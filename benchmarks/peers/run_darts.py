"""darts' BlockRNNModel."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch
from darts import TimeSeries
from darts.models import BlockRNNModel
from measuring import Steps, random_walk, scaled_returns, serve


def train(task: dict[str, Any]) -> dict[str, Any]:
    steps = Steps("rnn", task["warm_up"], task["steps"])
    model = BlockRNNModel(
        input_chunk_length=task["lookback"],
        output_chunk_length=1,
        model=task["cell"],
        hidden_dim=task["hidden"],
        n_rnn_layers=1,
        batch_size=task["batch"],
        loss_fn=torch.nn.MSELoss(),
        optimizer_cls=torch.optim.Adam,
        optimizer_kwargs={"lr": 1e-3, "fused": True},
        random_state=task["seed"],
        pl_trainer_kwargs={
            "accelerator": "cpu",
            "devices": 1,
            "max_epochs": -1,
            "max_steps": task["warm_up"] + task["steps"],
            "logger": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "enable_checkpointing": False,
            "callbacks": [steps],
        },
    )
    series = TimeSeries.from_values(scaled_returns(random_walk(task["points"], task["seed"])))
    model.fit(series, dataloader_kwargs={"drop_last": True, "pin_memory": False})
    return steps.result


warnings.filterwarnings("ignore")
logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
serve(train, ["darts", "torch", "pytorch-lightning", "numpy"])
