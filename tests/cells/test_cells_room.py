"""What holds for the room as a whole."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from carrossel.cells import Cell, CellConfig, State, registry
from carrossel.cells.unrolling import unroll
from carrossel.errors import UnknownKind


def test_the_lectures_seven_cells_are_there():
    expected = {"rnn", "lstm", "peephole", "peephole_diagonal", "coupled", "gru", "gru_reset_after"}

    assert expected <= set(registry.kinds())


def test_importing_the_room_or_the_unrolling_imports_no_cell():
    code = "import sys, carrossel.cells.unrolling; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()

    assert "carrossel.cells.unrolling" in loaded
    assert not {f"carrossel.cells.{kind}" for kind in registry.kinds()} & set(loaded)


def test_an_unknown_kind_is_answered_with_those_there_are():
    with pytest.raises(UnknownKind, match=r"cell kind 'lsmt' doesn't exist. Choose one of: .*\blstm\b"):
        registry.load("lsmt")


def test_cell_itself_cant_be_made():
    with pytest.raises(TypeError, match="abstract"):
        Cell(3, CellConfig())


def test_a_state_without_memory_says_so(make_cell):
    state = make_cell("gru").initial_state(2)
    with pytest.raises(ValueError, match="no memory C"):
        State(state.h).memory  # noqa: B018  # the property itself raises


def test_one_cell_serves_several_threads(make_cell, draw):
    cell = make_cell("lstm")
    inputs = [draw(20, 2, 3, seed=seed) for seed in range(8)]
    alone = [unroll(cell, x)[0] for x in inputs]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda x: unroll(cell, x)[0], inputs * 10))

    assert all(torch.equal(found, alone[n % 8]) for n, found in enumerate(together))
