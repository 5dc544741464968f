"""Every cell's kernel beside torch.nn: training, batched inference, single steps, and the share of what the machine can do.

    python benchmarks/cells.py [--quick] [--accuracy] [--device cuda]

Training is forward + backward, all cells and torch.nn's layers in turn in one run, medians, with 1 and 2 threads; a ratio
is the better of torch.nn's two medians over the cell's (at its better number of threads for the goals). The floor is the
time that the matrix products alone would take at the highest speed measured in this run, on one thread. `--accuracy`
compares outputs and gradients with the float64 loop instead. With `--device cuda` cells run beside cuDNN's layers, and
those that torch.nn has no layer for also beside backpropagation written out in torch's operations. Other work on the
machine blurs the ratios: run it alone.
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import time
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn

from carrossel.cells import Cell, registry
from carrossel.cells.kernels.bptt import TorchRunner
from carrossel.cells.kernels.operation import run
from carrossel.cells.unrolling import unroll
from carrossel.cells.unrolling.runners import choose_runner

if TYPE_CHECKING:
    from collections.abc import Callable

SIZES = [(32, 60, 1, 50), (64, 60, 5, 64), (256, 60, 5, 32), (256, 168, 8, 128), (64, 1000, 5, 64), (1024, 60, 5, 64)]
"""Batch, time, features, hidden."""

LAYERS = {"nn.LSTM": nn.LSTM, "nn.GRU": nn.GRU, "nn.RNN": nn.RNN}
GOALS: dict[str, tuple[str, float | None, float | None]] = {  # layer to beat, at every size, in geometric mean
    "lstm": ("nn.LSTM", 1.3, 2.0),
    "peephole_diagonal": ("nn.LSTM", 1.3, 2.0),
    "coupled": ("nn.LSTM", 1.7, None),
    "peephole": ("nn.LSTM", 0.8, 1.2),
    "gru": ("nn.GRU", 3.5, 5.0),
    "gru_reset_after": ("nn.GRU", None, None),
    "rnn": ("nn.RNN", 2.9, 4.0),
}
LEAST_TURNS, LEAST_TURNS_QUICK = 3, 2
PAUSE = 0.01
"""Seconds after which idle threads of torch's layers are asleep; they spin for some 4 ms."""
WORTH_ONE = 0.02
"""Seconds from which on a task is timed call by call, without trying how often fits a millisecond."""

CUDA_GOALS = {"coupled": 0.95, "peephole": 0.8, "peephole_diagonal": 0.8, "gru": 0.8}
CUDA_SIZES = [(256, 168, 8, 128), (64, 1000, 5, 64), (1024, 60, 5, 64)]
CUDA_GOAL_SIZES = [(256, 168, 8, 128), (1024, 60, 5, 64)]

Measurement = dict[str, float]


def make_cell(kind: str, features: int, hidden: int) -> Cell:
    cls = registry.load(kind)
    return cls(features, cls.Config(hidden_size=hidden), generator=torch.Generator().manual_seed(1))


def interleave(tasks: dict[str, Callable[[], object]], seconds: float, synchronize: Callable[[], None]) -> Measurement:
    """Median seconds of each task.

    They take turns in an order that changes. Each is measured as it runs in a training of its own: after a pause in which
    others' threads, which torch keeps spinning for a while, fall asleep, and a call that wakes its own.
    """
    generator = np.random.default_rng(1)
    times: dict[str, list[float]] = {name: [] for name in tasks}
    repeats = {}
    for name, task in tasks.items():
        first = measure(task, 1, synchronize)  # the first call may compile, and takes its memory
        repeats[name] = 1 if first > WORTH_ONE else max(1, round(1e-3 / measure(task, 1, synchronize)))
    end = time.perf_counter() + seconds
    for number in itertools.count():
        if number >= (LEAST_TURNS if seconds > 1 else LEAST_TURNS_QUICK) and time.perf_counter() > end:
            break
        for name in generator.permutation(list(tasks)):
            time.sleep(PAUSE)
            tasks[name]()
            times[name].append(measure(tasks[name], repeats[name], synchronize))
    return {name: statistics.median(each) for name, each in times.items()}


def measure(task: Callable[[], object], repeats: int, synchronize: Callable[[], None]) -> float:
    """Seconds of one call."""
    synchronize()
    start = time.perf_counter()
    for _ in range(repeats):
        task()
    synchronize()
    return (time.perf_counter() - start) / repeats


def training_tasks(size: tuple[int, int, int, int], device: str) -> dict[str, Callable[[], object]]:
    batch, steps, features, hidden = size
    x = torch.randn(steps, batch, features, device=device)
    gradient = torch.randn(steps, batch, hidden, device=device)

    def of_cell(kind: str) -> Callable[[], object]:
        cell = make_cell(kind, features, hidden).to(device)
        return lambda: unroll(cell, x)[0].backward(gradient)

    def of_layer(layer: type[nn.RNNBase]) -> Callable[[], object]:
        module = layer(features, hidden).to(device)
        return lambda: module(x)[0].backward(gradient)

    return {kind: of_cell(kind) for kind in GOALS} | {name: of_layer(layer) for name, layer in LAYERS.items()}


def products(kind: str, size: tuple[int, int, int, int]) -> float:
    """Floating-point operations in the products of forward and backward, without the gradient by x."""
    batch, steps, features, hidden = size
    blocks = len(registry.load(kind).gates)
    squares = blocks + (3 if kind == "peephole" else 0)
    return 2.0 * steps * batch * hidden * (3 * squares * hidden + 2 * blocks * features)


def measure_peak() -> float:
    """Highest speed of float32 products seen, one thread, operations per second."""
    matrix = torch.randn(512, 512)
    shortest = min(interleave({"product": lambda: matrix @ matrix}, 0.02, lambda: None)["product"] for _ in range(15))
    return 2 * 512**3 / shortest


def geometric_mean(numbers: list[float]) -> float:
    return float(np.exp(np.mean(np.log(numbers))))


def compare_training(*, quick: bool) -> list[tuple[str, float, float]]:
    """Print the table; give what there are goals for."""
    ratios: dict[str, list[float]] = {kind: [] for kind in GOALS}
    peak = measure_peak()
    print(f"{'forward + backward':24} {'':18} " + " ".join(f"{kind:>17}" for kind in GOALS))
    for size in SIZES:
        medians: dict[int, Measurement] = {}
        for threads in (1, 2):
            torch.set_num_threads(threads)
            medians[threads] = interleave(training_tasks(size, "cpu"), 0.6 if quick else 20.0, lambda: None)
        torch.set_num_threads(1)
        peak = max(peak, measure_peak())
        best = {name: min(each[name] for each in medians.values()) for name in medians[1]}
        for threads, each in medians.items():
            row = [f"{each[kind] * 1e3:8.2f} ms {best[GOALS[kind][0]] / each[kind]:5.2f}x" for kind in GOALS]
            print(f"{size!s:24} {threads} thread{'s' * (threads > 1):9}  " + " ".join(f"{cell:>17}" for cell in row))
        share = [f"{products(kind, size) / peak / medians[1][kind]:.0%}" for kind in GOALS]
        print(f"{'':24} share of floor     " + " ".join(f"{cell:>17}" for cell in share))
        layers = ", ".join(f"{name} {best[name] * 1e3:.2f}" for name in LAYERS)
        print(f"{'':24} {layers} ms; floor at {peak / 1e9:.0f} Gflop/s", flush=True)
        for kind, (layer, *_) in GOALS.items():
            ratios[kind].append(best[layer] / best[kind])
    found = []
    for kind, (layer, everywhere, overall) in GOALS.items():
        if everywhere is not None:
            found.append((f"{kind} over {layer}, least of all sizes", min(ratios[kind]), everywhere))
        if overall is not None:
            found.append((f"{kind} over {layer}, geometric mean", geometric_mean(ratios[kind]), overall))
    return found


def inference_tasks(size: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    """The LSTM forward by each path."""
    batch, steps, features, hidden = size
    cell, layer = make_cell("lstm", features, hidden), nn.LSTM(features, hidden)
    x, state, session = torch.randn(steps, batch, features), cell.initial_state(batch), onnx_session(layer)
    zeros = np.zeros((1, batch, hidden), np.float32)
    feed = {"x": x.numpy(), "h": zeros, "c": zeros}
    return {
        "kernel": lambda: unroll(cell, x, state, "numba"),
        "nn.LSTM": lambda: layer(x),
        "eager loop": lambda: unroll(cell, x, state, "loop"),
        "onnxruntime": lambda: session.run(None, feed),
    }


def step_tasks(features: int, hidden: int) -> dict[str, Callable[[], object]]:
    """One step of the LSTM with the forms made for it."""
    from carrossel.cells.kernels.stepping import Stepper  # imports numba, which --device cuda needn't

    cell, single = make_cell("lstm", features, hidden), nn.LSTMCell(features, hidden)
    x, state = torch.randn(1, features), cell.initial_state(1)
    return {
        "stepper": Stepper(cell),
        "nn.LSTMCell": lambda: single(x, (state.h, state.memory)),
        "eager step": lambda: cell.step(cell.project(x), state),
    }


def compare_inference(*, quick: bool) -> None:
    """Batched inference and single steps of the LSTM beside torch.nn, onnxruntime and the loop, on one thread."""
    torch.set_num_threads(1)
    for size in ((1, 1, 5, 64), (256, 60, 5, 64)):
        tasks = inference_tasks(size)
        if size[:2] == (1, 1):
            tasks |= step_tasks(*size[2:])
        with torch.inference_mode():
            found = interleave(tasks, 0.3 if quick else 5.0, lambda: None)
        row = ", ".join(f"{task} {each * 1e6:.1f} µs" for task, each in found.items())
        print(f"lstm, inference {size}: {row}")


def onnx_session(layer: nn.LSTM) -> onnxruntime.InferenceSession:
    """The LSTM operator of onnxruntime; the weights' gate order doesn't matter for time."""
    hidden, features = layer.hidden_size, layer.input_size
    weights = {
        "W": layer.weight_ih_l0,
        "R": layer.weight_hh_l0,
        "B": torch.cat([layer.bias_ih_l0, layer.bias_hh_l0]),
    }
    tensors = [numpy_helper.from_array(each.detach().numpy()[None], name) for name, each in weights.items()]
    node = helper.make_node("LSTM", ["x", "W", "R", "B", "", "h", "c"], ["y", "h_n", "c_n"], hidden_size=hidden)
    shapes = {"x": ["time", "batch", features], "h": [1, "batch", hidden], "c": [1, "batch", hidden]}
    inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("y", "h_n", "c_n")]
    graph = helper.make_graph([node], "lstm", inputs, outputs, tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def written_out_tasks(size: tuple[int, int, int, int]) -> dict[str, Callable[[], object]]:
    """Cells without a layer of torch.nn by torch's operations, which is what they run by without Triton."""
    batch, steps, features, hidden = size
    x, gradient = torch.randn(steps, batch, features, device="cuda"), torch.randn(steps, batch, hidden, device="cuda")

    def of_cell(kind: str) -> Callable[[], object]:
        cell = make_cell(kind, features, hidden).cuda()
        return lambda: run(TorchRunner(), cell.fast(), x, cell.initial_state(batch))[0].backward(gradient)

    return {f"{kind} by torch": of_cell(kind) for kind in CUDA_GOALS if make_cell(kind, 1, 1).fused() is None}


def name_path(kind: str, size: tuple[int, int, int, int]) -> str:
    """What runs a cell on CUDA."""
    batch, _, features, hidden = size
    cell = make_cell(kind, features, hidden).cuda()
    x = torch.zeros(1, batch, features, device="cuda")
    chosen = choose_runner(cell, x, cell.initial_state(batch), "auto")
    runner = getattr(chosen, "args", (None,))[0]
    return "cuDNN" if isinstance(runner, Cell) else type(runner).__name__


def compare_on_cuda(*, quick: bool) -> list[tuple[str, float, float]]:
    """As `compare_training`, against cuDNN; and cells that run by Triton against themselves by torch's operations."""
    ratios: dict[str, list[float]] = {kind: [] for kind in CUDA_GOALS}
    print(f"{torch.cuda.get_device_name()}, torch {torch.__version__}, forward + backward")
    for size in CUDA_SIZES:
        tasks = training_tasks(size, "cuda") | written_out_tasks(size)
        found = interleave(tasks, 2.0 if quick else 10.0, torch.cuda.synchronize)
        print(f"{size!s:24} " + ", ".join(f"{name} {found[name] * 1e3:.2f} ms" for name in LAYERS))
        for kind in GOALS:
            row = f"{'':24} {kind:18} {found[kind] * 1e3:8.2f} ms {found[GOALS[kind][0]] / found[kind]:5.2f}x cuDNN"
            if f"{kind} by torch" in found:
                row += f" {found[f'{kind} by torch'] / found[kind]:5.1f}x torch's operations"
            print(f"{row}, by {name_path(kind, size)}", flush=True)
        if size in CUDA_GOAL_SIZES:
            for kind in CUDA_GOALS:
                ratios[kind].append(found[GOALS[kind][0]] / found[kind])
    return [(f"{kind} over cuDNN, least of sizes", min(ratios[kind]), goal) for kind, goal in CUDA_GOALS.items()]


def check_accuracy() -> list[tuple[str, float, float]]:
    """Largest difference from the float64 loop, relative to the largest entry, of outputs and all gradients."""
    found = []
    for kind, (batch, steps, features, hidden) in itertools.product(GOALS, SIZES):
        cell = make_cell(kind, features, hidden)
        for parameter in cell.parameters():
            nn.init.uniform_(parameter, -(hidden**-0.5), hidden**-0.5)
        exact = make_cell(kind, features, hidden).double()
        exact.load_state_dict(cell.state_dict())
        x, gradient = torch.randn(steps, batch, features), torch.randn(steps, batch, hidden)
        results = []
        for each, backend in ((cell, "numba"), (exact, "loop")):
            inputs = x.detach().to(each.weight_h.dtype).requires_grad_()
            y, _ = unroll(each, inputs, backend=backend)
            y.backward(gradient.to(y.dtype))
            results.append([y.detach(), inputs.grad, *(parameter.grad for parameter in each.parameters())])
        worst = max(float((a.double() - b).abs().max() / b.abs().max()) for a, b in zip(*results, strict=True))
        found.append((f"{kind} {(batch, steps, features, hidden)} error", worst, 1e-5))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer repetitions, under a minute")
    parser.add_argument("--accuracy", action="store_true", help="compare numbers instead of times")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(1)
    if arguments.accuracy:
        found = check_accuracy()
        for name, value, goal in found:
            print(f"{name}: {value:.1e} (at most {goal:.0e})")
        return int(any(value > goal for _, value, goal in found))
    if arguments.device == "cuda":
        if not torch.cuda.is_available():
            print("no GPU can be had here")
            return 0
        found = compare_on_cuda(quick=arguments.quick)
    else:
        from carrossel.cells.kernels.warming import warm  # imports numba, which --device cuda needn't

        start = time.perf_counter()
        warm(list(GOALS), lambda _line: None)
        print(f"kernels compiled or loaded in {time.perf_counter() - start:.1f} s")
        compare_inference(quick=arguments.quick)
        found = compare_training(quick=arguments.quick)
    for name, value, goal in found:
        print(f"{name}: {value:.2f} (at least {goal:.2f})")
    return int(any(value < goal for _, value, goal in found))


if __name__ == "__main__":
    sys.exit(main())
