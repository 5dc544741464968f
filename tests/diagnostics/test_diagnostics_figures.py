from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex

from carrossel.diagnostics.figures import gradient_by_lag, gradient_heatmap, spectral_radius, tensor_norms

EPOCHS = [1, 2, 3]


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


FIGURES = {
    "gradient_by_lag": lambda: gradient_by_lag({f"a_rather_long_name_{n}": 0.5 ** np.arange(48.0) for n in range(9)}),
    "gradient_heatmap": lambda: gradient_heatmap(np.full((3, 5), 0.1), EPOCHS),
    "tensor_norms": lambda: tensor_norms(
        EPOCHS,
        {f"cells.{n}.weight_h": [1, 2, 3] for n in range(12)},
        {f"cells.{n}.weight_h": [1] * 3 for n in range(12)},
    ),
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


def test_figures_need_no_torch():
    """`compare` draws them in a process that never loads it."""
    code = "import sys, carrossel.diagnostics.figures; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "False"
