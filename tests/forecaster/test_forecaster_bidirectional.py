"""A second stack that reads the window backwards: torch.nn's function, and everything that is done with a network."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import checker
from torch import nn

from carrossel import cells
from carrossel.cells.unrolling import unroll_stack
from carrossel.forecaster.heads.base import HeadConfig
from carrossel.forecaster.network import Network
from carrossel.forecaster.onnx import export
from carrossel.forecaster.stored import load, save

FEATURES, HIDDEN = 3, 5


def make_network(kind="lstm", layers=2, *, bidirectional=True, **config):
    section = cells.registry.load(kind).Config(hidden_size=HIDDEN, layers=layers, bidirectional=bidirectional, **config)
    network = Network(kind, section, FEATURES, seed=1, horizons=2).eval()
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


def windows(batch=4, time=7, seed=0):
    return torch.randn(batch, time, FEATURES, generator=torch.Generator().manual_seed(seed))


def copy_of(network):
    """torch.nn's bidirectional LSTM with the network's weights."""
    layer = nn.LSTM(FEATURES, HIDDEN, num_layers=2, bidirectional=True, dtype=torch.float64)
    with torch.no_grad():
        for depth, pair in enumerate(zip(network.cells, network.reverse_cells, strict=True)):
            for cell, suffix in zip(pair, ("", "_reverse"), strict=True):
                getattr(layer, f"weight_ih_l{depth}{suffix}").copy_(cell.weight_x)
                getattr(layer, f"weight_hh_l{depth}{suffix}").copy_(cell.weight_h)
                getattr(layer, f"bias_ih_l{depth}{suffix}").copy_(cell.bias)
                getattr(layer, f"bias_hh_l{depth}{suffix}").zero_()
    return layer


@pytest.mark.parametrize("backend", ["auto", "loop"])
def test_two_layers_are_torchs_bidirectional_lstm(backend):
    network = make_network().double()
    network.backend = backend
    layer = copy_of(network)
    x, y = (windows().double().requires_grad_() for _ in range(2))
    ours = network.summarise(x)
    _, (last, _) = layer(y.transpose(0, 1))
    theirs = torch.cat([last[-2], last[-1]], dim=-1)  # the top layer's h_T forwards and h_1 backwards
    ours.square().sum().backward()
    theirs.square().sum().backward()

    # float64 keeps 16 digits
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(x.grad, y.grad, rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(network.cells[0].weight_h.grad, layer.weight_hh_l0.grad, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        network.reverse_cells[0].weight_h.grad, layer.weight_hh_l0_reverse.grad, rtol=1e-12, atol=1e-12
    )


def test_a_single_direction_has_the_weights_it_always_had():
    plain, double = make_network(bidirectional=False), make_network()

    assert not plain.bidirectional
    assert not any(name.startswith("reverse") for name in plain.state_dict())
    assert len(double.state_dict()) == 2 * len(plain.state_dict()) - 2  # but one head
    assert double.head.linear.in_features == 2 * plain.head.linear.in_features


@pytest.mark.parametrize("bidirectional", [False, True])
@pytest.mark.parametrize("kind", ["lstm", "gru"])
def test_a_trace_is_the_network_step_by_step(kind, bidirectional):
    network, x = make_network(kind, bidirectional=bidirectional).double(), windows().double()
    found = network.trace(x)

    torch.testing.assert_close(found.raw, network(x), rtol=1e-12, atol=1e-13)
    assert [each.shape[-1] for each in found.inputs] == [FEATURES, 2 * HIDDEN if bidirectional else HIDDEN]
    by_state = torch.autograd.grad(found.raw.sum(), [layer[0].h for layer in found.states])
    assert all(gradient.abs().max() > 0 for gradient in by_state)
    if not bidirectional:
        states = unroll_stack(network.cells, x.transpose(0, 1))
        assert torch.equal(states[-1][-1].h, found.states[-1][-1].h)


@pytest.mark.parametrize(
    ("kind", "options"),
    [("lstm", {}), ("gru", {"bias": True}), ("rnn", {"layer_norm": True, "zoneout": 0.2})],
)
def test_onnxruntime_reads_both_ways(kind, options):
    network = make_network(kind, **options)
    network.backend = "loop"
    model = export(network.train())
    assert network.training  # what is for training stays out of the file, and the network as it was
    network.eval()
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, time in ((4, 7), (1, 1), (2, 30)):
        x = windows(batch, time)
        (found,) = session.run(None, {"windows": x.numpy()})
        with torch.no_grad():
            # both compute in float32, in another order
            np.testing.assert_allclose(found, network.point(x).numpy(), rtol=0, atol=1e-6)


def test_a_stored_network_reads_both_ways(tmp_path):
    network = make_network("gru")
    manifest = {
        "cell": {"kind": "gru", "config": network.cells[0].config.model_dump(mode="json")},
        "windows": {"lookback": 7, "horizon": [1, 2], "features": ["log_return", "log_range", "close"]},
        "target": {"kind": "log_return"},
        "head": HeadConfig(kind="point").model_dump(mode="json"),
        "scalers": {
            "features": {"center": [0.0] * 3, "scale": [1.0] * 3},
            "label": {"center": [0.0] * 2, "scale": [1.0] * 2},
        },
    }
    save(tmp_path, network, manifest)

    again = load(tmp_path).network
    assert again.bidirectional
    assert torch.equal(again(windows()), network(windows()))
