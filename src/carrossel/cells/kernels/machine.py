"""What the kernels are shaped by: lanes of a vector, and the tile of sums that fills the registers without spilling."""

from __future__ import annotations

from typing import NamedTuple

import llvmlite.binding

from carrossel.cells.kernels.extending import config


class Machine(NamedTuple):
    """Shape of the inner loop.

    Attributes:
        lanes: float32 numbers in a vector.
        rows: rows of a tile of sums.
        vectors: vectors in a row of a tile; rows × vectors sums, one vector of weights and one broadcast number at
            least have to fit the registers.
    """

    lanes: int
    rows: int
    vectors: int


def read_machine(features: dict[str, bool], architecture: str) -> Machine:
    """Shape for the features LLVM compiles for.

    Args:
        features: names as LLVM knows them.
        architecture: first part of LLVM's target triple, such as `x86_64`.
    """
    if features.get("avx512f"):
        return Machine(lanes=16, rows=6, vectors=4)  # 32 registers of 512 bits
    if features.get("avx2") and features.get("fma"):
        return Machine(lanes=8, rows=6, vectors=2)  # 16 registers of 256 bits; LLVM spills with 4 × 3
    if architecture in ("aarch64", "arm64"):
        return Machine(lanes=4, rows=6, vectors=4)  # 32 registers of 128 bits
    return Machine(lanes=4, rows=4, vectors=2)  # 16 registers of 128 bits, products and sums apart


def _features() -> dict[str, bool]:
    if config.CPU_FEATURES is not None:  # NUMBA_CPU_FEATURES: "+name,-name"; empty for NUMBA_CPU_NAME=generic
        return {each[1:]: each.startswith("+") for each in config.CPU_FEATURES.split(",") if each}
    return dict(llvmlite.binding.get_host_cpu_features())


MACHINE = read_machine(_features(), llvmlite.binding.get_process_triple().partition("-")[0])
LANES = MACHINE.lanes
