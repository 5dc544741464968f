from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from carrossel.diagnostics.curves import REACH
from carrossel.diagnostics.dashboard.figures import SATURATION, Inside, Lines, draw_dashboard
from carrossel.diagnostics.figures import (
    compare_memory,
    gate_saturation,
    gradient_by_lag,
    gradient_heatmap,
    jacobian_norms,
    kept_by_lag,
    lyapunov_exponents,
    sensitivity_by_lag,
    spectral_radius,
    tensor_norms,
)

EPOCHS = [1, 2, 3]
FADING = {f"a_rather_long_name_{n}": (0.5 + 0.04 * n) ** np.arange(48.0) for n in range(9)}


def drawn(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return figure, canvas.get_renderer()


def overlapping(figure, renderer):
    """Pairs of titles, axis labels, legends and plot areas that lie on one another."""
    parts = {}
    for n, axes in enumerate(figure.axes):
        parts[f"title {n}"], parts[f"x {n}"], parts[f"y {n}"] = axes.title, axes.xaxis.label, axes.yaxis.label
        parts[f"plot {n}"] = axes.patch
        if axes.get_legend():
            parts[f"legend {n}"] = axes.get_legend()
    parts |= {f"legend of figure {n}": legend for n, legend in enumerate(figure.legends)}
    boxes = {name: part.get_window_extent(renderer).shrunk(0.99, 0.99) for name, part in parts.items()}
    boxes = {name: box for name, box in boxes.items() if box.width > 1 and box.height > 1}  # empty labels
    return [(a, b) for a, b in itertools.combinations(boxes, 2) if boxes[a].overlaps(boxes[b])]


def inside(**changes):
    curve = 0.5 ** np.arange(6.0)
    full = Inside(
        epochs=EPOCHS,
        g=np.tile(curve, (3, 1)),
        gradients={"layer 0": curve, "layer 1": curve},
        kept={"layer 0": [*curve, 0.01]},
        sensitivity=curve,
        saturation={"forget": ([0.1, 0.3], [0.4, 0.2]), "output": ([0.0, 0.0], [0.0, 0.0])},
        radius=Lines(EPOCHS, {"forget": [1.0, 1.1, 1.2]}),
        updates=Lines(EPOCHS, {f"layers.0.weight_{n}": [1e-2, 1e-3, 1e-4] for n in "xh"}),
    )
    return full._replace(**changes)


FIGURES = {
    "gradient_by_lag": lambda: gradient_by_lag({f"a_rather_long_name_{n}": 0.5 ** np.arange(48.0) for n in range(9)}),
    "gradient_heatmap": lambda: gradient_heatmap(np.full((3, 5), 0.1), EPOCHS),
    "tensor_norms": lambda: tensor_norms(
        EPOCHS,
        {f"cells.{n}.weight_h": [1, 2, 3] for n in range(12)},
        {f"cells.{n}.weight_h": [1] * 3 for n in range(12)},
    ),
    "compare_memory": lambda: compare_memory({f"a_rather_long_name_{n}": [1.0, 0.1] for n in range(24)}),
    "sensitivity_by_lag": lambda: sensitivity_by_lag(FADING),
    "jacobian_norms": lambda: jacobian_norms(FADING, dict.fromkeys(FADING, np.ones(48))),
    "lyapunov_exponents": lambda: lyapunov_exponents({name: [0.1, -0.2, -0.3, -np.inf] for name in FADING}),
    "gate_saturation": lambda: gate_saturation(
        {name: dict.fromkeys(["input", "forget", "output"], ([0.1, 0.9], [0.8, 0.1])) for name in list(FADING)[:3]}
    ),
    "kept_by_lag": lambda: kept_by_lag(FADING, FADING),
    "dashboard": lambda: draw_dashboard(inside(), "bitcoin lstm: inside the cell"),
    "spectral_radius": lambda: spectral_radius(EPOCHS, {"input": [1.0, 1.1, 1.2], "forget": [0.9, 0.8, 0.7]}),
}


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_has_title_and_labels_that_dont_overlap(name):
    figure, renderer = drawn(FIGURES[name]())
    titles = [axes.get_title() for axes in figure.axes] + [figure.get_suptitle()]

    assert any(titles)
    assert all(axes.get_ylabel() for axes in figure.axes)
    assert overlapping(figure, renderer) == []


def test_gradient_by_lag_draws_each_curve_by_lag_on_a_log_axis():
    figure = gradient_by_lag({"lstm": [1.0, 0.5], "rnn": [1.0, 0.1]})
    (axes,) = figure.axes

    assert axes.get_yscale() == "log"
    assert [line.get_xydata().tolist() for line in axes.lines] == [[[0, 1.0], [1, 0.5]], [[0, 1.0], [1, 0.1]]]


def test_the_legend_lists_lines_from_the_highest_end_to_the_lowest():
    figure = gradient_by_lag({"low": [1.0, 0.1], "gone": [1.0, 0.0], "high": [1.0, 0.9]})

    assert [text.get_text() for text in figure.axes[0].get_legend().get_texts()] == ["high", "low", "gone"]


def test_no_two_of_twenty_lines_look_alike():
    lines = gradient_by_lag({str(n): [1.0, 0.5] for n in range(20)}).axes[0].lines

    assert len({(to_hex(line.get_color()), line.get_linestyle()) for line in lines}) == 20


@pytest.mark.parametrize("g", [[0.0, 0.0], [1.0, 0.0], []])
def test_zero_gradients_are_gaps_not_warnings(g):
    figure, _ = drawn(gradient_by_lag({"dead": g}))

    assert not np.any(np.asarray(figure.axes[0].lines[0].get_ydata()) == 0)


@pytest.mark.parametrize("draw", [compare_memory, lambda dead: kept_by_lag(dead, dead)])
def test_nothing_but_zeros_is_drawn_as_nothing(draw):
    figure, _ = drawn(draw({"dead": [0.0, 0.0]}))

    assert np.isnan(figure.axes[0].lines[0].get_ydata()).all()


def test_a_heatmap_of_zeros_is_drawn():
    figure, _ = drawn(gradient_heatmap(np.zeros((2, 3)), [1, 2]))

    assert figure.axes[0].images[0].get_array().mask.all()


def test_a_heatmap_shows_lag_upwards_and_epoch_across():
    figure = gradient_heatmap([[1.0, 0.1, 0.01], [1.0, 0.2, 0.04]], [1, 2])
    (image,) = figure.axes[0].images

    assert image.get_array().tolist() == [[1.0, 1.0], [0.1, 0.2], [0.01, 0.04]]
    assert [tick.get_text() for tick in figure.axes[0].get_xticklabels()] == ["1", "2"]


def test_spectral_radius_shows_the_line_at_one_even_far_from_it():
    figure = spectral_radius(EPOCHS, {"hidden": [0.2, 0.3, 0.4]})
    axes = figure.axes[0]

    assert axes.get_ylim()[0] < 1 < axes.get_ylim()[1]
    assert [1, 1] in [list(line.get_ydata()) for line in axes.lines]


def test_the_comparison_draws_shares_of_lag_0_with_the_end_of_the_memory():
    axes = compare_memory({"lstm": [4.0, 2.0], "dead": [0.0, 0.0]}).axes[0]
    lstm, dead, level = axes.lines

    assert lstm.get_ydata().tolist() == [1.0, 0.5]
    assert np.isnan(dead.get_ydata()).all()
    assert list(level.get_ydata()) == [REACH, REACH]


def test_two_of_24_cells_that_are_the_same_function_are_both_seen():
    """Markers of lines that lie on one another differ, or stand at different points."""
    lines = compare_memory({str(n): 0.9 ** np.arange(48) for n in range(24)}).axes[0].lines[:24]

    assert len({(line.get_marker(), line.get_markevery()) for line in lines}) == 24


def test_jacobian_norms_shows_products_by_lag_from_0_and_steps_from_1_both_with_the_line_at_1():
    left, right = jacobian_norms({"rnn": [1.0, 0.5, 0.2]}, {"rnn": [0.5, 0.4]}).axes

    assert left.lines[0].get_xydata().tolist() == [[0, 1.0], [1, 0.5], [2, 0.2]]
    assert right.lines[0].get_xydata().tolist() == [[1, 0.5], [2, 0.4]]
    assert all(list(axes.lines[1].get_ydata()) == [1, 1] for axes in (left, right))


def test_lyapunov_bars_have_each_cells_exponents_and_write_infinity():
    axes = lyapunov_exponents({"lstm": [0.5, -0.25], "rnn": [-1.0, -np.inf]}).axes[0]
    first, second = axes.containers

    assert [bar.get_width() for bar in first] == [0.5, -1.0]
    assert [bar.get_width() for bar in second] == [-0.25, 0.0]
    assert [text.get_text().strip() for text in axes.texts] == ["−∞"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["lstm", "rnn"]
    assert axes.get_xlim()[0] < 0 < axes.get_xlim()[1]


def test_saturation_has_a_panel_per_gate_with_a_point_per_unit():
    figure = gate_saturation({"lower": {"forget": ([0.1, 0.2], [0.3, 0.4])}, "upper": {"output": ([0.5], [0.0])}})
    forget, output = figure.axes

    assert [axes.get_title() for axes in figure.axes] == ["forget gate", "output gate"]
    assert forget.collections[0].get_offsets().tolist() == [[0.1, 0.3], [0.2, 0.4]]
    assert output.collections[0].get_offsets().tolist() == [[0.5, 0.0]]


def test_saturation_of_a_cell_without_gates_says_so():
    figure, _ = drawn(gate_saturation({"rnn": {}}))

    assert figure.axes[0].get_title() == "no gates"


def test_kept_lies_over_the_gradient_as_shares_of_lag_0():
    axes = kept_by_lag({"lstm": [8.0, 4.0], "rnn": [1.0, 0.1]}, {"lstm": [1.0, 0.25, 0.1]}).axes[0]

    assert {line.get_label(): line.get_ydata().tolist() for line in axes.lines} == {
        "lstm: gradient": [1.0, 0.5],
        "lstm: gates alone": [1.0, 0.25],
        "rnn: gradient": [1.0, 0.1],
    }


def test_the_dashboard_has_six_panels_and_bars_of_mean_saturation():
    figure = draw_dashboard(inside(), "bitcoin lstm")
    panels = [axes for axes in figure.axes if axes.get_title(loc="left")]
    assert [axes.get_title(loc="left")[:2] for axes in panels] == ["D1", "D1", "D2", "D5", "D6", "D7"]
    bars = panels[4].patches
    widths = {name: [bar.get_width() for bar in bars[2 * n : 2 * n + 2]] for n, name in enumerate(SATURATION)}
    assert widths["shut (< 0.1)"] == pytest.approx([0.2, 0])
    assert widths["between"] == pytest.approx([0.5, 1])
    assert widths["open (> 0.9)"] == pytest.approx([0.3, 0])


def test_the_dashboard_says_what_was_not_measured_or_is_not_there():
    none = Lines([], {})
    bare = inside(epochs=[], g=np.zeros((0, 0)), gradients={}, kept={}, sensitivity=None, saturation=None, radius=none)
    figure, _ = drawn(draw_dashboard(bare, "old"))
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert said.count("not measured") == 5
    figure, _ = drawn(draw_dashboard(inside(saturation={}, radius=none), "rnn"))
    said = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert {"this cell has no gates", "none: gates don't see h"} <= set(said)


def test_figures_need_no_torch():
    """`compare` draws them in a process that never loads it."""
    code = "import sys, carrossel.diagnostics.dashboard.figures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
