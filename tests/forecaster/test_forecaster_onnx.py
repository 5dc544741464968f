"""A network as ONNX gives the network's own numbers, whatever the cell, the head, the batch and the lookback."""

import numpy as np
import onnxruntime
import pytest
import torch
from onnx import checker
from scipy import stats

from carrossel import cells
from carrossel.forecaster.heads.base import read_head
from carrossel.forecaster.heads.base import registry as heads
from carrossel.forecaster.heads.student_t import standard_quantiles
from carrossel.forecaster.network import Network
from carrossel.forecaster.onnx import export, write_onnx
from carrossel.targets.base import QUANTILES, TargetConfig

FEATURES, HORIZONS = 3, 2
# Stacks of what becomes ONNX's operators, of what becomes a Scan, and of what keeps several things in C; every kind by itself is
# in tests/cells/test_cells_onnx.py.
STACKED = ("rnn", "lstm", "gru", "gru_reset_after", "peephole", "minlstm", "slstm")
CASES = [(kind, "point", 2) for kind in STACKED] + [
    (kind, head, 1) for head in heads.kinds() for kind in ("lstm", "peephole")
]


def make_network(kind="lstm", head="point", layers=1, **options):
    config = cells.registry.load(kind).Config(hidden_size=5, layers=layers, **options)
    target = TargetConfig(kind="direction" if head == "probability" else "log_return")
    network = Network(kind, config, FEATURES, 1, read_head({"kind": head}, target), HORIZONS).eval()
    generator = torch.Generator().manual_seed(2)
    network.head.prepare(torch.randn(300, HORIZONS, generator=generator))
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator))
    return network


@pytest.mark.parametrize(("kind", "head", "layers"), CASES)
def test_point_and_quantiles_are_the_networks_own(kind, head, layers):
    network = make_network(kind, head, layers)
    network.backend = "loop"
    model = export(network)
    checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for batch, lookback in ((1, 12), (6, 4)):
        windows = torch.randn(batch, lookback, FEATURES, generator=torch.Generator().manual_seed(batch))
        with torch.no_grad():
            raw = network(windows)
            point, quantiles = network.head.point(raw), network.head.quantiles(raw, QUANTILES)
        found = session.run(None, {"windows": windows.numpy()})
        assert [each.name for each in session.get_outputs()] == ["point", "quantiles"][: len(found)]
        assert len(found) == (1 if quantiles is None else 2)
        # both compute in float32, in another order
        np.testing.assert_allclose(found[0], point.numpy(), rtol=0, atol=1e-6)
        if quantiles is not None:
            np.testing.assert_allclose(found[1], quantiles.numpy(), rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", ["rnn", "lstm", "fgr", "gru_reset_after", "indrnn", "lem", "minlstm", "slstm"])
def test_what_options_do_in_evaluation_comes_along(kind):
    network = make_network(kind, layer_norm=True, zoneout=0.2)
    session = onnxruntime.InferenceSession(export(network).SerializeToString(), providers=["CPUExecutionProvider"])
    windows = torch.randn(3, 12, FEATURES, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        # both compute in float32, in another order
        np.testing.assert_allclose(
            session.run(None, {"windows": windows.numpy()})[0], network.point(windows).numpy(), rtol=0, atol=1e-6
        )


def test_the_same_weights_give_the_same_bytes(tmp_path):
    for name in ("one", "other"):
        write_onnx(tmp_path / name, make_network("peephole", "quantiles", 2))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()


def test_quantiles_of_student_t_are_scipys():
    freedom = torch.tensor([2.0, 2.001, 2.5, 3, 4, 7.3, 30, 1e3, 1e9], dtype=torch.float64)
    np.testing.assert_allclose(
        standard_quantiles(freedom, QUANTILES), stats.t.ppf(QUANTILES, freedom.numpy()[:, None]), rtol=0, atol=1e-9
    )
