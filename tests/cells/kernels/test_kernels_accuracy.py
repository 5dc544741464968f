"""Float32 kernels against the float64 loop: outputs, last state, and gradients by x, the state and every parameter."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kernel_kinds import DISTINCT

SMALL = [(32, 60, 1, 50), (64, 60, 5, 64), (256, 60, 5, 32)]
LARGE = [  # each of the lectures' kinds once; `benchmarks/cells.py --accuracy` checks all of them at all sizes
    ("gru", (256, 168, 8, 128)),
    ("rnn", (256, 168, 8, 128)),
    ("coupled", (64, 1000, 5, 64)),
    ("peephole_diagonal", (64, 1000, 5, 64)),
    ("lstm", (1024, 60, 5, 64)),
    ("peephole", (1024, 60, 5, 64)),
    ("gru_reset_after", (1024, 60, 5, 64)),
]
ODD = [(1, 1, 1, 1), (1, 7, 3, 5), (7, 1, 2, 9), (5, 130, 1, 3), (97, 3, 7, 17), (50, 4, 33, 8), (3, 300, 2, 24)]
TOLERANCE = 1e-5  # float32 keeps 7 digits, and long sums lose one or two
NEVER_FORGETS = 5e-5
"""Nothing leaves nfg's memory: over 300 steps the float32 loop is 2.4e-5 away, and the kernels' tanh, which stops at ±7.9, lets a
derivative of 5e-7 through where memory has grown to 20 and it should be 0."""


@pytest.mark.parametrize("kind", DISTINCT)
@pytest.mark.parametrize("size", ODD, ids=str)
def test_odd_sizes(kind, size, problem):
    assert problem(kind, *size).worst_error("numba") < (NEVER_FORGETS if kind == "nfg" else TOLERANCE)


@pytest.mark.parametrize("kind", DISTINCT)
@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 120), st.integers(1, 20), st.integers(1, 20), st.integers(1, 40))
def test_any_size(kind, problem, batch, time, features, hidden):
    assert problem(kind, batch, time, features, hidden).worst_error("numba") < TOLERANCE


@pytest.mark.parametrize("kind", DISTINCT)
@pytest.mark.parametrize("size", SMALL, ids=str)
def test_sizes_of_practice(kind, size, problem):
    assert problem(kind, *size).worst_error("numba") < TOLERANCE


@pytest.mark.parametrize(("kind", "size"), LARGE, ids=str)
def test_large_sizes_of_practice(kind, size, problem):
    # the reference is the backward pass written out in float64, which is the loop to 1e-12 and takes a third of its time
    assert problem(kind, *size).worst_error("numba", reference="torch") < TOLERANCE


@pytest.mark.parametrize("kind", DISTINCT)
def test_all_threads_of_a_machine_give_what_one_gives(kind, problem):
    before = torch.get_num_threads()
    try:
        for threads in (2, 3):
            torch.set_num_threads(threads)
            assert problem(kind, 100, 9, 3, 20).worst_error("numba") < TOLERANCE
    finally:
        torch.set_num_threads(before)


def test_gru_without_and_with_biases(problem):
    assert problem("gru", 9, 12, 3, 20, bias=True).worst_error("numba") < TOLERANCE
    assert problem("gru_reset_after", 9, 12, 3, 20, bias=False).worst_error("numba") < TOLERANCE


def test_a_machine_without_wide_vectors(tmp_path):
    """Compiled for the oldest processor of this architecture: other lanes, another tile, products and sums apart."""
    code = """
from conftest import Problem
from carrossel.cells.kernels.machine import MACHINE
print(MACHINE.lanes, *(Problem(kind, 29, 7, 3, 21).worst_error("numba") for kind in ("lstm", "gru")))
"""
    environment = os.environ | {"NUMBA_CPU_NAME": "generic", "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])},
    )
    lanes, *errors = done.stdout.split()

    assert lanes == "4"
    assert max(map(float, errors)) < TOLERANCE
