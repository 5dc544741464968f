"""Fitting: reproducible, resumable, and the same as a plain loop."""

from dataclasses import replace

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from carrossel import cells
from carrossel.cells.unrolling import unroll_states
from carrossel.diagnostics.gates import gate_values, kept_by_lag
from carrossel.diagnostics.quantities import sensitivity_by_lag
from carrossel.errors import TrainingError
from carrossel.forecaster.heads.base import HeadConfig, read_head
from carrossel.forecaster.module import ForecastModule, loader, mix
from carrossel.forecaster.network import Network
from carrossel.recorder import MemoryRecorder
from carrossel.targets.base import TargetConfig, make_target
from carrossel.training.config import Recipe, Training
from carrossel.training.fitting import fit, naive_mse
from carrossel.training.probe import Probe
from carrossel.windows.config import Windows
from carrossel.windows.tensor import window_series

WINDOWS = Windows(lookback=6, features=("log_return", "log_range"))
TARGET = TargetConfig(kind="log_return")


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def recipe(kind="lstm", **training):
    values = {"epochs": 4, "patience": 9, "batch_size": 16, "threads": 1, "accelerator": "cpu", **training}
    cell = cells.registry.load(kind).Config(hidden_size=5, layers=2, dropout=0.3)
    return Recipe("walk", kind, kind, cell, WINDOWS, TARGET, HeadConfig(kind="point"), Training(**values))


@pytest.fixture
def data(make_bars):
    return window_series(make_bars(400), WINDOWS, make_target(TARGET))


def run(data, recipe, recorder=None, **options):
    return fit(data, recipe, recorder or MemoryRecorder(), name="test", **options)


class StopIn(pl.Callback):
    """Ends the process's training in the middle of an epoch, as a kill would."""

    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.current_epoch == self.epoch:
            raise RuntimeError("killed")


def same_weights(first, second):
    return all(
        torch.equal(a, b)
        for a, b in zip(first.network.state_dict().values(), second.network.state_dict().values(), strict=True)
    )


def test_the_same_seed_gives_the_same_numbers(data):
    first, second = run(data, recipe()), run(data, recipe())
    assert first.history == second.history
    assert same_weights(first, second)


def test_another_seed_gives_other_numbers(data):
    assert run(data, recipe()).history != run(data, recipe(seed=2)).history


def test_what_ran_before_in_the_process_does_not_matter(data):
    first = run(data, recipe())
    torch.rand(1000)
    assert run(data, recipe()).history == first.history


@pytest.mark.parametrize("epoch", [1, 3])
def test_a_training_killed_in_an_epoch_resumes_and_ends_as_an_undisturbed_one(data, tmp_path, epoch):
    mine = recipe(jacobians_every=2)
    undisturbed = run(data, mine)
    with pytest.raises(RuntimeError, match="killed"):
        run(data, mine, checkpoints=tmp_path, callbacks=[StopIn(epoch)])
    recorder = MemoryRecorder()
    resumed = run(data, mine, recorder, checkpoints=tmp_path)
    late = [resumed.best_epoch] if resumed.best_epoch % 2 else []  # its Jacobians, measured in the end
    assert [step for step, _ in recorder.seen_metrics] == [*range(epoch, 4), *late]
    assert resumed.history == undisturbed.history
    assert resumed.best_epoch == undisturbed.best_epoch
    assert resumed.gradients.tables() == undisturbed.gradients.tables()
    assert same_weights(resumed, undisturbed)


def test_the_lightning_path_takes_the_steps_of_a_plain_loop(data):
    mine = recipe(epochs=1)
    mine = replace(mine, cell=mine.cell.model_copy(update={"dropout": 0.0}))
    network = Network("lstm", mine.cell, 2, seed=1)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.0)
    order = torch.randperm(len(data.split.train), generator=torch.Generator().manual_seed(mix(1, 0)))
    for batch in torch.from_numpy(data.split.train)[order].split(16):
        loss = (network.point(data.gather(batch)) - data.labels[batch]).square().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
    fitted = run(data, mine).network
    for name, value in network.state_dict().items():
        # Fused and plain AdamW round differently; weights are around 0.1 and took 17 steps of 1e-3.
        torch.testing.assert_close(fitted.state_dict()[name], value, rtol=0, atol=1e-6)


def test_every_epoch_sees_each_window_once_in_an_order_of_its_own():
    loading = loader(torch.arange(1000), batch_size=16, seed=3)
    orders = []
    for epoch in (0, 1, 0):
        loading.sampler.set_epoch(epoch)
        orders.append(torch.cat(list(loading)))
        assert orders[-1].sort().values.tolist() == list(range(1000))
    assert torch.equal(orders[0], orders[2])
    assert not torch.equal(orders[0], orders[1])


def test_the_best_epoch_s_weights_are_kept_not_the_last_ones(data):
    fitted = run(data, recipe(learning_rate=0.1, epochs=8))
    losses = [row["validation_loss"] for row in fitted.history]
    assert fitted.best_epoch == int(np.argmin(losses)) < len(losses) - 1
    with torch.no_grad():
        origins = torch.from_numpy(data.split.validation)
        loss = (fitted.network.point(data.gather(origins)) - data.labels[origins]).square().mean()
    assert loss.item() == pytest.approx(min(losses), rel=1e-5)


def test_training_stops_when_validation_does_not_improve(data):
    assert len(run(data, recipe(learning_rate=0.3, epochs=50, patience=2)).history) < 50


def test_metrics_of_an_epoch_come_in_one_batch(data):
    recorder = MemoryRecorder()
    run(data, recipe(), recorder)
    assert [step for step, _ in recorder.seen_metrics] == [0, 1, 2, 3]
    assert {"train_loss", "validation_loss", "validation_skill", "gradient/memory_bars"} <= set(
        recorder.seen_metrics[0][1]
    )


def test_validation_skill_is_zero_for_tomorrow_is_today(data):
    origins = torch.from_numpy(data.split.validation)
    unscaled = data.labels[origins].double() * data.label_scaler.scale[0] + data.label_scaler.center[0]
    by_hand = unscaled.square().mean() / data.label_scaler.scale[0] ** 2
    assert naive_mse(data) == pytest.approx(by_hand.item(), rel=1e-6)


@pytest.mark.parametrize(
    ("target", "head"), [("log_return", "quantiles"), ("log_return", "binned"), ("direction", "probability")]
)
def test_validation_skill_is_of_the_point_forecast_whatever_the_head_minimises(make_bars, target, head):
    question = TargetConfig(kind=target)
    mine = replace(recipe(epochs=2), target=question, head=read_head({"kind": head}, question))
    data = window_series(make_bars(400), WINDOWS, make_target(question))
    fitted = run(data, mine)
    origins = data.split.validation
    with torch.no_grad():
        raw = fitted.network(data.gather(torch.from_numpy(origins)))
    scaled = fitted.network.head.point(raw).double().numpy()
    truth = data.labels[torch.from_numpy(origins)]
    naive = data.label_scaler.transform(data.unchanged[origins])
    errors = [((forecast - truth.double().numpy()) ** 2).mean() for forecast in (scaled, naive)]
    row = fitted.history[fitted.best_epoch]
    # chunks are summed apart, in float32
    assert row["validation_skill"] == pytest.approx(1 - errors[0] / errors[1], abs=1e-5)
    assert row["validation_loss"] == pytest.approx(fitted.network.head.loss(raw, truth).item(), rel=1e-4)
    assert abs(row["validation_loss"] - errors[0]) > 0.01


def test_an_infinite_loss_says_what_to_lower(data):
    with pytest.raises(
        TrainingError, match=r"loss became nan in epoch 0\. Lower training\.learning_rate \(now 0\.001\)"
    ):
        broken = data.labels.clone()
        broken[data.split.train[5]] = float("nan")
        run(replace(data, labels=broken), recipe())


def rows(table, *names):
    return set(zip(*(table[name] for name in names), strict=True))


def test_tables_have_every_epoch_layer_lag_tensor_and_unit(data):
    fitted = run(data, recipe(epochs=2))
    tables = fitted.gradients.tables()
    every = [(epoch, layer) for epoch in range(2) for layer in range(2)]
    assert rows(tables["gradient_by_lag"], "epoch", "layer", "lag") == {
        (*each, lag) for each in every for lag in range(6)
    }
    assert rows(tables["kept"], "epoch", "layer", "lag") == {(*each, lag) for each in every for lag in range(7)}
    assert rows(tables["sensitivity"], "epoch", "lag") == {(epoch, lag) for epoch in range(2) for lag in range(6)}
    gates = ("input", "forget", "output")
    assert rows(tables["gates"], "epoch", "layer", "gate", "unit") == {
        (*each, gate, unit) for each in every for gate in gates for unit in range(5)
    }
    assert set(tables["tensors"]["tensor"]) == set(fitted.network.state_dict())
    assert set(tables["spectrum"]["gate"]) == set(fitted.network.layers[0].gates)
    assert min(tables["tensors"]["update_ratio"]) > 0
    assert all(len({len(column) for column in table.values()}) == 1 for table in tables.values())
    assert not {"jacobians", "lyapunov"} & set(tables)


def test_what_is_measured_is_what_the_functions_give_for_the_kept_weights(data):
    fitted = run(data, recipe(epochs=1))
    network, tables = fitted.network, fitted.gradients.tables()
    origins = fitted.gradients.probe.origins
    x = data.gather(origins).transpose(0, 1)
    lower = unroll_states(network.cells[0], x)
    upper_inputs = torch.stack([state.h for state in lower])
    kept = network.cells[1].kept(
        gate_values(network.cells[1], upper_inputs, unroll_states(network.cells[1], upper_inputs))
    )
    seen = [value for value, layer in zip(tables["kept"]["kept"], tables["kept"]["layer"], strict=True) if layer == 1]
    np.testing.assert_allclose(seen, kept_by_lag(kept), rtol=1e-6)  # float32's last digit
    window = x.requires_grad_()
    norms = sensitivity_by_lag(network.point(window.transpose(0, 1)), window)
    np.testing.assert_allclose(tables["sensitivity"]["norm"], norms, rtol=1e-6)


def test_losses_and_weights_are_the_same_with_diagnostics_and_without(data):
    noisy = recipe(epochs=2)
    noisy = replace(noisy, cell=noisy.cell.model_copy(update={"recurrent_dropout": 0.2, "zoneout": 0.1}))
    looked_at = replace(noisy, training=noisy.training.model_copy(update={"jacobians_every": 1}))
    without, measured = run(data, noisy, diagnose=False), run(data, looked_at)
    for plain, row in zip(without.history, measured.history, strict=True):
        assert plain.items() <= row.items()
    assert same_weights(without, measured)


def test_measuring_draws_no_random_number_and_leaves_the_network_as_it_was(data):
    mine = recipe()
    cell = mine.cell.model_copy(update={"recurrent_dropout": 0.2, "zoneout": 0.1})
    network = Network("lstm", cell, 2, seed=1).train()
    module = ForecastModule(network, data, batch_size=16, learning_rate=0.1, weight_decay=0.0, clip_norm=1.0, seed=1)
    probe, before = Probe(data, 8), torch.get_rng_state()
    first = (probe.measure(module), probe.measure_jacobians(module))
    assert first == (probe.measure(module), probe.measure_jacobians(module))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(part.training for part in network.modules())
    assert all(parameter.grad is None for parameter in network.parameters())


@pytest.mark.parametrize("kind", ["rnn", "gru"])
def test_cells_without_gates_or_memory_give_tables_without_those_rows(data, kind):
    fitted = run(data, recipe(kind, epochs=1))
    tables = fitted.gradients.tables()
    assert set(tables["gradient_by_lag"]["c"]) == {None}
    assert bool(tables["gates"]["unit"]) == bool(tables["kept"]["lag"]) == (kind == "gru")
    assert (
        ("gates/update_open" in fitted.history[0])
        == ("memory/kept_halving_bars" in fitted.history[0])
        == (kind == "gru")
    )


def test_every_nth_epoch_and_the_one_whose_weights_are_kept_are_looked_at(data):
    fitted = run(data, recipe(epochs=4, diagnose_every=3, jacobians_every=2, learning_rate=0.01))
    tables, best = fitted.gradients.tables(), fitted.best_epoch
    assert set(tables["gradient_by_lag"]["epoch"]) == set(tables["gates"]["epoch"]) == {0, 3, best}
    assert set(tables["lyapunov"]["epoch"]) == set(tables["jacobians"]["epoch"]) == {0, 2, best}
    assert set(tables["tensors"]["epoch"]) == {0, 1, 2, 3}
    measured = {row["epoch"] for row in fitted.history if "memory/reach_bars" in row}
    assert measured == {0, 3, best}
    assert {row["epoch"] for row in fitted.history if "jacobian/lyapunov_top" in row} == {0, 2, best}


def test_jacobians_by_lag_and_exponents_by_rank(data):
    tables = run(data, recipe("rnn", epochs=1, jacobians_every=1)).gradients.tables()
    norms, exponents = tables["jacobians"], tables["lyapunov"]
    lower = [row for row, layer in enumerate(norms["layer"]) if layer == 0]
    assert [norms["lag"][row] for row in lower] == list(range(7))
    product, step = ([norms[name][row] for row in lower] for name in ("product", "step"))
    assert product[0] == pytest.approx(1)  # no step yet
    assert product[1] == pytest.approx(step[0])  # the last step alone
    assert step[-1] is None  # no step leads to the zero state
    assert exponents["rank"] == [1, 2, 3, 4] * 2
    assert exponents["exponent"][:4] == sorted(exponents["exponent"][:4], reverse=True)


def test_turned_off_only_d7_is_measured(data):
    fitted = run(data, recipe(epochs=1, diagnose_every=0))
    full = {name for name, table in fitted.gradients.tables().items() if table["epoch"]}
    assert full == {"tensors"}
    assert {"gradient/norm_max", "weights/update_ratio_max"} < set(fitted.history[0])
    assert not any(name.startswith(("memory/", "gates/", "sensitivity/")) for name in fitted.history[0])
