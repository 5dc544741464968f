from __future__ import annotations

import math

import pytest
import torch

from carrossel.cells import registry
from carrossel.cells.initialisation import chrono_bias
from carrossel.config import validate
from carrossel.errors import ConfigError

WITH_FORGET_GATE = ["lstm", "peephole", "peephole_diagonal", "coupled", "janet"]


def fresh(kind, **config):
    cls = registry.load(kind)
    cell = cls(3, cls.Config(hidden_size=100, **config), generator=torch.Generator().manual_seed(0))
    return cell, dict(zip(cls.gates, cell.bias.detach().chunk(len(cls.gates)), strict=True))


@pytest.mark.parametrize("kind", WITH_FORGET_GATE)
@pytest.mark.parametrize("value", [1.0, -0.5])
def test_forget_bias_is_set_and_every_other_bias_is_zero(kind, value):
    _, bias = fresh(kind, forget_bias=value)

    assert torch.equal(bias.pop("forget"), torch.full((100,), value))
    assert all(torch.equal(other, torch.zeros(100)) for other in bias.values())


@pytest.mark.parametrize("kind", WITH_FORGET_GATE)
def test_forget_bias_starts_at_one_unless_told_otherwise(kind):
    assert registry.load(kind).Config().forget_bias == 1.0


@pytest.mark.parametrize("kind", WITH_FORGET_GATE)
def test_chrono_bias_spreads_time_scales_evenly_and_mirrors_the_input_gate(kind):
    _, bias = fresh(kind, chrono_t_max=101)
    scales = bias["forget"].exp()

    assert 1 <= scales.min() < 8
    assert 93 < scales.max() <= 100
    assert scales.mean().item() == pytest.approx(50.5, abs=9)  # U(1, 100); 100 draws have a standard error of 2.9
    assert torch.equal(bias.get("input", -bias["forget"]), -bias["forget"])
    assert not any(bias[gate].any() for gate in set(bias) - {"forget", "input"})


@pytest.mark.parametrize(("kind", "sign"), [("gru", -1), ("gru_reset_after", 1)])
def test_chrono_bias_of_a_gru_keeps_the_old_value_whichever_way_its_z_points(kind, sign):
    _, bias = fresh(kind, bias=True, chrono_t_max=101)

    assert (sign * bias["update"]).min() >= 0
    assert (sign * bias["update"]).max() > math.log(90)
    assert torch.equal(bias["reset"], torch.zeros(100))


@pytest.mark.parametrize("kind", ["gru", "gru_reset_after"])
def test_chrono_without_biases_is_refused(kind):
    with pytest.raises(ConfigError, match=rf"cells\.{kind}.*chrono_t_max sets a bias and needs bias: true"):
        validate({"bias": False, "chrono_t_max": 50}, registry.load(kind).Config, f"cells.{kind}")


def test_the_shortest_chrono_range_is_a_bias_of_zero():
    assert torch.equal(chrono_bias(4, t_max=2), torch.zeros(4))  # log U(1, 1)


@pytest.mark.parametrize("kind", ["peephole", "peephole_diagonal"])
def test_peephole_weights_start_at_zero(kind):
    cell, _ = fresh(kind)

    assert not cell.weight_c.any()


def test_the_lectures_gru_has_no_biases():
    cls = registry.load("gru")

    assert [name for name, _ in cls(3, cls.Config()).named_parameters()] == ["weight_x", "weight_h"]


def test_redrawing_with_a_generator_repeats_the_first_draw():
    cls = registry.load("lstm")
    cell = cls(3, cls.Config(chrono_t_max=20), generator=torch.Generator().manual_seed(9))
    before = {name: value.clone() for name, value in cell.state_dict().items()}
    cell.weight_h.data.zero_()
    cell.reset_parameters(torch.Generator().manual_seed(9))

    assert all(torch.equal(value, before[name]) for name, value in cell.state_dict().items())
