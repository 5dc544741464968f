"""Every registered head keeps the contract, and each agrees with an independent reference."""

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn.metrics import log_loss, mean_pinball_loss

from carrossel.errors import ConfigError, UnknownKind
from carrossel.forecaster.heads.base import interpolate, read_head, registry
from carrossel.targets.base import QUANTILES, TargetConfig
from carrossel.targets.base import registry as targets

HIDDEN = 4


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def make(kind, horizons=1, **knobs):
    cls = registry.load(kind)
    torch.manual_seed(0)
    return cls(cls.Config(kind=kind, **knobs), HIDDEN, horizons)


def labels(kind, windows, horizons, seed=1):
    drawn = normal(windows, horizons, seed=seed)
    return (drawn > 0).float() if kind == "probability" else drawn


@pytest.fixture(params=registry.kinds())
def kind(request):
    return request.param


@pytest.fixture(params=[1, 3])
def horizons(request):
    return request.param


@pytest.fixture
def head(kind, horizons):
    made = make(kind, horizons)
    made.prepare(labels(kind, 500, horizons))
    return made


def test_the_kind_is_the_files_name(kind):
    assert registry.load(kind).__module__.rsplit(".", 1)[1] == kind


def test_shapes_are_those_of_the_contract(head, horizons):
    raw = head(normal(7, HIDDEN))
    assert raw.shape == (7, horizons, head.outputs)
    assert head.point(raw).shape == (7, horizons)
    found = head.quantiles(raw, QUANTILES)
    assert found is None or found.shape == (7, horizons, len(QUANTILES))


def test_loss_and_gradient_are_finite(head, kind, horizons):
    loss = head.loss(head(normal(7, HIDDEN)), labels(kind, 7, horizons))
    loss.backward()
    assert loss.shape == ()
    assert torch.isfinite(loss)
    assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())
    assert any(parameter.grad.abs().max() > 0 for parameter in head.parameters())


@pytest.mark.parametrize("size", [1e-6, 30.0])
def test_loss_and_gradient_are_finite_for_labels_far_out_and_for_tiny_or_large_outputs(head, kind, horizons, size):
    raw = (size * normal(7, horizons, head.outputs)).requires_grad_()
    label = labels(kind, 7, horizons) * (1 if kind == "probability" else 100)
    loss = head.loss(raw, label)
    loss.backward()
    assert torch.isfinite(loss)
    assert torch.isfinite(raw.grad).all()
    assert torch.isfinite(head.point(raw)).all()


def test_gradient_descent_on_a_linear_problem_lowers_the_loss_and_finds_the_point(head, kind, horizons):
    hidden = normal(400, HIDDEN, seed=2)
    signal = hidden @ normal(HIDDEN, horizons, seed=3)
    label = (signal > 0).float() if kind == "probability" else signal + 0.1 * normal(400, horizons, seed=4)
    head.prepare(label)
    optimizer = torch.optim.Adam(head.parameters(), lr=0.05)
    losses = []
    for _ in range(200):
        loss = head.loss(head(hidden), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] - 0.1 * abs(losses[0])
    with torch.no_grad():
        error = (head.point(head(hidden)) - label).square().mean()
    # Half of what the constant mean leaves: loose, for 200 steps from anywhere.
    assert error < 0.5 * label.var()


def test_quantiles_rise_with_their_level(head, horizons):
    found = head.quantiles(10 * normal(50, horizons, head.outputs), [0.01, 0.05, 0.3, 0.5, 0.7, 0.95, 0.99])
    assert found is None or (found.diff(dim=-1) >= 0).all()


def test_what_a_head_learns_from_the_labels_travels_with_the_weights(head, kind, horizons):
    other = make(kind, horizons)
    other.load_state_dict(head.state_dict())
    raw = normal(7, horizons, head.outputs)
    torch.testing.assert_close(other.point(raw), head.point(raw), rtol=0, atol=0)
    first, second = (each.quantiles(raw, QUANTILES) for each in (head, other))
    assert (first is None) == (second is None)
    if first is not None:
        torch.testing.assert_close(second, first, rtol=0, atol=0)


def test_point_is_the_squared_error():
    head = make("point", 2)
    raw, label = torch.tensor([[[1.0], [2.0]]]), torch.tensor([[3.0, 1.0]])
    assert head.loss(raw, label).item() == (4 + 1) / 2
    assert head.point(raw).tolist() == [[1, 2]]
    assert head.quantiles(raw, QUANTILES) is None


def test_the_quantile_loss_is_scikit_learns_pinball_loss():
    levels = (0.1, 0.5, 0.8)
    head = make("quantiles", 3, levels=levels)
    raw, label = normal(40, 3, 3), normal(40, 3, seed=1)
    found = head.quantiles(raw, levels)
    reference = np.mean(
        [mean_pinball_loss(label.ravel(), found[..., k].ravel(), alpha=level) for k, level in enumerate(levels)]
    )
    # float32 carries seven digits
    assert head.loss(raw, label).item() == pytest.approx(reference, rel=1e-5)


def test_quantiles_by_hand_never_cross():
    head = make("quantiles", levels=(0.1, 0.5, 0.9))
    # softplus(0) = ln 2; softplus(-100) = 0
    raw = torch.tensor([[[1.0, 0.0, -100.0]]])
    found = head.quantiles(raw, (0.1, 0.5, 0.9, 0.3, 0.01, 0.99))[0, 0]
    middle = 1 + np.log(2)
    torch.testing.assert_close(
        found, torch.tensor([1, middle, middle, (1 + middle) / 2, 1, middle], dtype=torch.float32)
    )
    assert head.point(raw).item() == pytest.approx(middle, rel=1e-6)


@pytest.mark.parametrize("levels", [(), (0.5, 0.1), (0.1, 0.1), (0.0, 0.5), (0.5, 1.0)])
def test_levels_must_rise_between_0_and_1(levels):
    with pytest.raises(ConfigError, match=r"head\.levels"):
        read_head({"kind": "quantiles", "levels": levels}, TargetConfig(kind="price"))


def test_a_single_level_is_all_quantiles():
    assert interpolate([0.1, 0.9], [0.5], torch.tensor([[3.0]])).tolist() == [[3, 3]]


def distribution(raw):
    location, scale, freedom = raw.double().numpy().transpose(2, 0, 1)
    return stats.t(df=2 + np.log1p(np.exp(freedom)), loc=location, scale=np.log1p(np.exp(scale)) + 1e-4)


def test_the_student_t_loss_is_scipys_negative_log_density():
    head, raw, label = make("student_t", 3), normal(40, 3, 3), 5 * normal(40, 3, seed=1)
    reference = -distribution(raw).logpdf(label.double().numpy()).mean()
    assert head.loss(raw, label).item() == pytest.approx(reference, rel=1e-5)


def test_student_t_quantiles_are_scipys():
    head, raw = make("student_t", 3), normal(40, 3, 3)
    for k, level in enumerate(QUANTILES):
        found = head.quantiles(raw, QUANTILES)[..., k]
        np.testing.assert_allclose(found, distribution(raw).ppf(level), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(head.point(raw), raw[..., 0])


@pytest.fixture
def binned():
    """Two horizons, four bins; labels 0 … 7, of which two fall into each bin, and ten times as much."""
    head = make("binned", 2, bins=4)
    values = torch.arange(8.0)
    head.prepare(torch.stack([values, 10 * values], dim=1))
    return head


def test_bins_have_equal_shares_and_the_mean_label_as_center(binned):
    torch.testing.assert_close(binned.edges[0], torch.tensor([0, 1.75, 3.5, 5.25, 7]))
    torch.testing.assert_close(binned.centers[0], torch.tensor([0.5, 2.5, 4.5, 6.5]))
    torch.testing.assert_close(binned.centers[1], 10 * binned.centers[0])
    assert binned.bin(torch.tensor([[0.0, 0], [1.75, 17.4], [7, 70], [-5, 500]])).tolist() == [
        [0, 0],
        [1, 0],
        [3, 3],
        [0, 3],
    ]


def test_the_binned_loss_is_minus_the_logarithm_of_the_bins_probability(binned):
    raw, label = normal(5, 2, 4), torch.tensor([[0.0, 0], [2, 20], [4, 70], [7, 10], [9, -9]])
    probability = np.exp(raw.numpy()) / np.exp(raw.numpy()).sum(-1, keepdims=True)
    bins = [[0, 0], [1, 1], [2, 3], [3, 0], [3, 0]]
    chosen = [probability[w, h, bins[w][h]] for w in range(5) for h in range(2)]
    assert binned.loss(raw, label).item() == pytest.approx(-np.mean(np.log(chosen)), rel=1e-5)


def test_a_uniform_softmax_forecasts_the_mean_of_the_centers(binned):
    torch.testing.assert_close(binned.point(torch.zeros(1, 2, 4)), torch.tensor([[3.5, 35.0]]))


def test_quantiles_at_cumulated_probabilities_are_the_edges_and_linear_between(binned):
    raw = torch.log(torch.tensor([0.1, 0.4, 0.3, 0.2])).expand(1, 2, 4)
    found = binned.quantiles(raw, [0.1, 0.5, 0.8, 0.05, 0.3, 0.9])[0]
    expected = torch.tensor([1.75, 3.5, 5.25, 0.875, 2.625, 6.125])
    torch.testing.assert_close(found, torch.stack([expected, 10 * expected]), rtol=1e-5, atol=1e-5)


def test_one_sure_bin_keeps_all_quantiles_within_it(binned):
    raw = torch.tensor([-50.0, 50, -50, -50]).expand(1, 2, 4)
    found = binned.quantiles(raw, QUANTILES)
    assert (found[0, 0] >= 1.75 - 1e-6).all()
    assert (found[0, 0] <= 3.5 + 1e-6).all()


def test_the_likeliest_next_moves_come_with_their_probabilities(binned):
    raw = torch.log(torch.tensor([0.1, 0.4, 0.3, 0.2])).expand(3, 2, 4)
    probability, move = binned.likeliest(raw, 3)
    torch.testing.assert_close(probability[0, 0], torch.tensor([0.4, 0.3, 0.2]))
    torch.testing.assert_close(move[0], torch.tensor([[2.5, 4.5, 6.5], [25, 45, 65]]))
    assert binned.likeliest(raw, 9)[0].shape == (3, 2, 4)


def test_labels_of_which_many_are_equal_still_give_bins():
    head = make("binned", bins=5)
    head.prepare(torch.tensor([0.0] * 90 + [1.0] * 10)[:, None])
    assert (head.edges.diff() >= 0).all()
    raw = normal(20, 1, 5).requires_grad_()
    head.loss(raw, torch.tensor([0.0, 1] * 10)[:, None]).backward()
    assert torch.isfinite(raw.grad).all()
    assert (head.quantiles(raw.detach(), QUANTILES).diff(dim=-1) >= 0).all()
    # Every bin's center is a label or lies between two.
    assert ((head.centers >= 0) & (head.centers <= 1)).all()


def test_the_default_has_21_bins():
    assert make("binned").outputs == 21


def test_the_probability_loss_is_scikit_learns_log_loss():
    head, raw, label = make("probability", 3), normal(40, 3, 1), labels("probability", 40, 3)
    probability = head.point(raw)
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-raw[..., 0].numpy())), rtol=1e-6)
    reference = log_loss(label.ravel().numpy(), probability.ravel().double().numpy())
    assert head.loss(raw, label).item() == pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize("target", targets.kinds())
def test_a_target_is_answered_by_its_heads_and_by_no_other(target, kind):
    allowed = targets.load(target).heads
    if kind in allowed:
        assert read_head({"kind": kind}, TargetConfig(kind=target)).kind == kind
    else:
        with pytest.raises(ConfigError, match=rf"head\.kind = '{kind}': target {target} is answered by {allowed[0]}"):
            read_head({"kind": kind}, TargetConfig(kind=target))


def test_the_section_is_checked():
    target = TargetConfig(kind="log_return")
    assert read_head({"kind": "binned", "bins": 5}, target).bins == 5
    with pytest.raises(UnknownKind, match="'pont'"):
        read_head({"kind": "pont"}, target)
    with pytest.raises(ConfigError, match="unknown key"):
        read_head({"kind": "point", "bins": 5}, target)
    with pytest.raises(ConfigError, match="kind"):
        read_head({}, target)
    with pytest.raises(ConfigError, match=r"head\.bins = 1"):
        read_head({"kind": "binned", "bins": 1}, target)
