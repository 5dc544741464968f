"""What a caller can rely on besides the numbers."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from kernel_kinds import DISTINCT, FORMS, KINDS
from torch.utils._python_dispatch import TorchDispatchMode

from carrossel.cells import State, registry
from carrossel.cells.kernels import workspace
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run
from carrossel.cells.kernels.threads import run_blocks
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.errors import ConfigError

kinds = pytest.mark.parametrize("kind", DISTINCT)
FILLS = {"zeros", "new_zeros", "zeros_like", "zero_", "fill_", "full"}


def test_all_kinds_have_gate_maths_but_those_that_keep_more_than_c():
    assert set(registry.kinds()) - set(KINDS) == {"fgr", "slstm"}


@kinds
def test_auto_runs_the_kernel_for_float32(kind, problem, monkeypatch):
    each = problem(kind, 4, 5, 3, 6)
    monkeypatch.setattr(type(each.single), "step", None)
    monkeypatch.setattr(type(each.single), "fused", None)

    assert each.run("auto")["h"].shape == (5, 4, 6)


@kinds
def test_float64_falls_back(kind, problem):
    assert problem(kind, 4, 5, 3, 6).worst_error("numba", torch.float64) < 1e-12  # sixteen digits, five steps


@kinds
def test_without_gradients_the_same_numbers_come_out(kind, problem):
    each = problem(kind, 50, 6, 3, 10)
    expected, _ = unroll(each.single, each.x, each.state, "numba")
    with torch.inference_mode():
        y, last = unroll(each.single, each.x, each.state, "numba")

    assert torch.equal(y, expected.detach())
    assert torch.equal(last.h, y[-1])


@kinds
def test_x_may_have_any_strides(kind, problem):
    each = problem(kind, 6, 5, 3, 7)
    dense, _ = unroll(each.single, each.x, each.state, "numba")
    batch_first = each.x.transpose(0, 1).contiguous()
    strided = torch.stack([each.x, each.x], dim=-1)[..., 0]
    for x in (batch_first.transpose(0, 1), strided, each.x[:, :1].expand(-1, 6, -1)[:, :6]):
        y, _ = unroll(each.single, x, each.state, "numba")
        expected, _ = unroll(each.single, x.contiguous(), each.state, "numba")
        assert torch.equal(y, expected)
    assert torch.equal(unroll(each.single, strided, each.state, "numba")[0], dense)


@kinds
def test_a_graph_can_be_walked_twice(kind, problem):
    each = problem(kind, 6, 5, 3, 7)
    y, _ = unroll(each.single, each.x, each.state, "numba")
    first = torch.autograd.grad(y.sum(), list(each.single.parameters()), retain_graph=True)
    second = torch.autograd.grad(y.sum(), list(each.single.parameters()))

    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    with pytest.raises(RuntimeError, match="second time"):
        torch.autograd.grad(y.sum(), list(each.single.parameters()))


@kinds
def test_graphs_alive_at_once_dont_share_memory(kind, problem):
    each, other = problem(kind, 6, 5, 3, 7), problem(kind, 6, 5, 3, 7)
    alone = torch.autograd.grad(unroll(each.single, each.x, each.state, "numba")[0].sum(), each.single.weight_x)[0]
    y, _ = unroll(each.single, each.x, each.state, "numba")
    unroll(other.single, -3 * other.x, other.state, "numba")

    assert torch.equal(torch.autograd.grad(y.sum(), each.single.weight_x)[0], alone)


def test_memory_goes_back_when_a_graph_is_gone(problem):
    each = problem("lstm", 6, 5, 3, 7)
    workspace.pool.clear()
    for _ in range(3):
        y, _ = unroll(each.single, each.x, each.state, "numba")
        y.sum().backward()
        del y
        gc.collect()
    addresses = [address for memories in workspace.pool._free.values() for _, address in memories]

    assert len(addresses) == len(set(addresses))
    assert 1 <= len(addresses) <= 4  # states, activations, packed weights, scratch; reused, not added to


class _Operations(TorchDispatchMode):
    """Torch's operations while it is on, and the shapes of what they gave."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        found = operation(*args, **(kwargs or {}))
        self.seen.append((operation.overloadpacket.__name__, tuple(getattr(found, "shape", ()))))
        return found


@kinds
def test_no_state_of_zeros_is_made(kind, problem):
    """Filling one wakes torch's own threads, which then spin on the cores that the kernels' threads want."""
    batch, hidden = 11, 5
    each = problem(kind, batch, 6, 3, hidden)
    with _Operations() as operations:
        unroll(each.single, each.x, backend="numba")[0].backward(each.weights[0])

    assert ("as_strided", (6, batch, hidden)) in operations.seen  # the kernels' output
    assert not [each for each in operations.seen if each[0] in FILLS and each[1] == (batch, hidden)]


def test_an_interrupt_waits_for_other_threads():
    """They write to memory that the caller frees."""
    ended = threading.Event()

    def work(_first, _last, thread):
        if thread == 0:
            raise KeyboardInterrupt
        time.sleep(0.2)
        ended.set()

    with pytest.raises(KeyboardInterrupt):
        run_blocks(work, 2, 2)

    assert ended.is_set()


def test_free_memory_has_a_limit(monkeypatch):
    monkeypatch.setattr(workspace, "LARGEST_POOL", 4096)
    pool = workspace.Pool()
    small, middle, other, large = (pool.find(count) for count in (1024, 2048, 1536, 8192))
    pool.give_back(large)
    assert pool.find(8192)[1] != large[1]  # too large to be kept

    pool.give_back(small)
    pool.give_back(middle)
    pool.give_back(other)  # the one kept first goes to make room

    assert pool.find(2048)[1] == middle[1]
    assert pool.find(1536)[1] == other[1]
    assert pool.find(1024)[1] != small[1]


@pytest.mark.parametrize("kind", ["peephole", "gru", "lstm"])
def test_written_out_it_runs_with_mixed_precision(kind, problem):
    each = problem(kind, 3, 4, 2, 5)
    exact = unroll(each.single, each.x, backend="loop")[0]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y, _ = run(TorchRunner(), each.single.fast(), each.x, None)
    y.float().sum().backward()

    torch.testing.assert_close(y.float(), exact, rtol=0, atol=0.05)  # bfloat16 keeps two to three digits
    assert each.single.weight_h.grad.isfinite().all()


@kinds
def test_an_output_changed_in_place_is_told(kind, problem):
    """It is a view of what the backward pass reads."""
    each = problem(kind, 4, 6, 3, 5)
    y, _ = unroll(each.single, each.x, backend="numba")

    with pytest.raises(RuntimeError, match="is a view and is being modified inplace"):
        y.mul_(2)


@kinds
def test_inputs_may_be_part_of_wider_rows(kind, problem):
    """As a lower layer's outputs are."""
    each = problem(kind, 4, 6, 3, 5)
    part = torch.cat([each.x, torch.full_like(each.x, torch.nan)], dim=2)[..., :3]

    with _Operations() as operations:
        found = unroll(each.single, part, backend="numba")[0]

    assert torch.equal(found, unroll(each.single, each.x, backend="numba")[0])
    assert not [each for each in operations.seen if each[0] in {"clone", "copy_"} and each[1] == part.shape]


@kinds
@pytest.mark.parametrize("backend", ["numba", "torch"])
@pytest.mark.parametrize("used", ["h", "c"])
def test_without_a_state_and_with_an_output_that_nobody_uses(kind, backend, used, problem):
    each = problem(kind, 5, 4, 3, 7)
    if used == "c" and not FORMS[kind].maths.carried:
        used = "h"

    assert each.worst_error(backend, given=False, used=used) < 1e-5  # float32


@kinds
def test_leftovers_in_memory_dont_reach_the_results(kind, problem, monkeypatch):
    """Hidden sizes that leave lanes of a vector empty, on memory full of NaN."""
    find = workspace.pool.find

    def find_spoiled(count):
        memory = find(count)
        memory[0][:] = np.nan
        return memory

    monkeypatch.setattr(workspace.pool, "find", find_spoiled)
    each = problem(kind, 7, 5, 1, 50)

    assert all(torch.isfinite(found).all() for found in each.run("numba").values())
    assert each.worst_error("numba") < 1e-5  # float32


@kinds
def test_second_derivatives(kind, problem):
    each = problem(kind, 2, 4, 3, 5)

    def second(cell, backend, dtype):
        x = each.x.to(dtype).requires_grad_()
        (by_x,) = torch.autograd.grad(unroll(cell, x, backend=backend)[0].sum(), x, create_graph=True)
        return torch.autograd.grad(by_x.square().sum(), list(cell.parameters()), allow_unused=True)

    exact = second(each.double, "loop", torch.float64)
    found = second(each.single, "numba", torch.float32)
    for a, b in zip(found, exact, strict=True):
        torch.testing.assert_close(a if a is None else a.double(), b, rtol=1e-3, atol=1e-5)  # float32, squared


@kinds
def test_frozen_weights_still_pass_gradients_to_x(kind, problem):
    each = problem(kind, 3, 4, 2, 5)
    expected = each.run("numba")["x"]
    each.single.requires_grad_(requires_grad=False)
    x = each.x.clone().requires_grad_()
    h, last = unroll(each.single, x, each.state, "numba")
    loss = (h * each.weights[0]).sum() + (0 if last.c is None else (last.c * each.weights[1]).sum())
    loss.backward()

    torch.testing.assert_close(x.grad, expected, rtol=0, atol=0)


@kinds
def test_not_a_number_reaches_the_output(kind, problem):
    each = problem(kind, 3, 4, 2, 5)
    each.x[1, 2, 0] = float("nan")
    y, _ = unroll(each.single, each.x, each.state, "numba")

    assert torch.isnan(y[1:, 2]).any(dim=-1).all()
    assert torch.isfinite(y[:, :2]).all()
    assert torch.isfinite(y[0]).all()


@kinds
def test_saturated_gates_stay_in_bounds(kind, problem):
    each = problem(kind, 3, 4, 2, 5)
    each.x *= 1e6
    y, exact = each.run("numba")["h"], each.run("loop", torch.float64)["h"]
    bound = exact.abs().max().clamp_min(1)  # rectifiers and linear candidates have none of their own

    assert y.abs().max() <= bound * (1 + 1e-6)  # tanh's approximation may exceed 1 by a rounding


@kinds
def test_an_empty_batch_gives_an_empty_output(kind, problem):
    each = problem(kind, 1, 4, 2, 5)
    y, last = unroll(each.single, each.x[:, :0])

    assert y.shape == (4, 0, 5)
    assert last.h.shape == (0, 5)


@kinds
def test_a_state_of_another_shape_is_refused(kind, problem):
    each = problem(kind, 3, 4, 2, 5)
    with pytest.raises(ValueError, match=r"state's h has shape \(2, 5\); expected \(3, 5\)"):
        unroll(each.single, each.x, State(each.state.h[:2], each.state.c), "numba")


@kinds
def test_gradients_by_lag_come_from_the_loop_whatever_the_backend(kind, problem):
    """Diagnostic D1 differentiates by the states of `unroll_states`, which are the kernel's states."""
    each = problem(kind, 3, 6, 2, 5)
    y, _ = unroll(each.single, each.x, each.state, "auto")
    states = unroll_states(each.single, each.x, each.state)
    by_lag = torch.autograd.grad(states[-1].h.sum(), [state.h for state in states])

    torch.testing.assert_close(torch.stack([state.h for state in states]), y, rtol=0, atol=1e-6)  # float32
    assert all(gradient.norm() > 0 for gradient in by_lag)


@pytest.mark.parametrize("backend", ["torch", "numba"])
def test_a_cell_without_gate_maths_says_so(backend, problem):
    each = problem("rnn", 3, 4, 2, 5, activation="identity")
    with pytest.raises(ConfigError, match=f"backend='{backend}': a rnn cell has no such form; use 'auto' or 'loop'"):
        unroll(each.single, each.x, each.state, backend)

    assert each.worst_error("auto") < 1e-5  # float32


def test_without_numba_torch_takes_over(problem, monkeypatch):
    monkeypatch.setattr("carrossel.cells.unrolling.runners._kernel", lambda: None)

    assert problem("peephole", 3, 4, 2, 5).worst_error("auto") < 1e-5  # float32


def test_numba_isnt_imported_before_a_kernel_runs():
    code = "import sys, carrossel.cells.lstm, carrossel.cells.unrolling; print('numba' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"


def test_an_exported_graph_has_no_kernel_in_it(problem):
    each = problem("lstm", 3, 4, 2, 5)

    class Layer(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.cell = each.single

        def forward(self, x):
            return unroll(self.cell, x)[0]

    exported = torch.export.export(Layer(), (each.x,), strict=False).module()(each.x)

    torch.testing.assert_close(exported, unroll(each.single, each.x)[0], rtol=0, atol=1e-6)  # float32


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_threads_work_in_a_forked_child(problem):
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        each = problem("rnn", 8, 4, 2, 5)
        expected = np.asarray(unroll(each.single, each.x, each.state, "numba")[0].detach())
        child = os.fork()
        if child == 0:
            with torch.no_grad():
                found = unroll(each.single, each.x, each.state, "numba")[0].numpy()
            os._exit(0 if np.array_equal(found, expected) else 1)
        assert os.waitpid(child, 0)[1] == 0
    finally:
        torch.set_num_threads(before)
