"""How much of the variance of skill each hyper-parameter explains, and each pair: functional ANOVA of a random forest.

A tree is constant on boxes, so its mean over any set of keys is a sum over leaves, exact and without sampling. Keys are
weighted as they were drawn: evenly on their own scale, logarithmic or not, or over their choices.

Optuna's evaluator knows single keys only, weighs logarithmic ones by their raw values, and its trees sum over a pair's grid
cell by cell in Python: minutes where this takes a second.

References:
    Hutter, Hoos & Leyton-Brown (2014), An efficient approach for assessing hyperparameter importance, ICML.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from sklearn.ensemble import RandomForestRegressor

from carrossel.tuning.config import Choices

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import pandas as pd
    from numpy.typing import NDArray

    from carrossel.tuning.config import FloatRange, IntRange

_TREES = 64
FEWEST = 10  # trials; a forest of fewer repeats them
CELL = "cell"


@dataclass(frozen=True)
class Axis:
    """One key as the forest sees it.

    Args:
        low: least value on the scale it is drawn on; None for choices.
        choices: empty for numbers.
    """

    key: str
    low: float | None = None
    high: float | None = None
    log: bool = False
    choices: tuple[Any, ...] = ()

    @property
    def width(self) -> int:
        """Columns: one, or one per choice."""
        return len(self.choices) or 1

    def encode(self, values: Sequence[Any] | NDArray[Any]) -> NDArray[np.float64]:
        """Columns of the forest's input, [values, width]."""
        if self.choices:
            return np.asarray([[float(value == choice) for choice in self.choices] for value in values])
        numbers = np.asarray(values, dtype=np.float64)
        return (np.log(numbers) if self.log else numbers)[:, None]

    def decode(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Numbers on the key's own scale from the one it is drawn on."""
        return np.exp(points) if self.log else points


@dataclass(frozen=True)
class Share:
    """A part of the variance.

    Args:
        keys: one key, or the two of a pair; empty for what three and more do together.
        share: of the forest's variance over the whole space, mean over trees.
        spread: standard deviation over trees.
    """

    keys: tuple[str, ...]
    share: float
    spread: float


@dataclass(frozen=True)
class Explained:
    """The variance of one cell's skill, or of all cells'.

    Args:
        cell: its name, or None for all cells together, with the cell as one more key.
        trust: share of the variance of trials that the forest hadn't seen which it predicts (R² out of bag); at 0 or
            below, shares describe noise.
        deviation: standard deviation of the forest's prediction over the whole space, in units of skill.
        shares: single keys, pairs, then the rest, each adding up to 1.
    """

    cell: str | None
    trials: int
    trust: float
    deviation: float
    shares: tuple[Share, ...]
    forest: Forest

    def of(self, *keys: str) -> Share:
        """The share of a key or pair, in any order."""
        return next(share for share in self.shares if set(share.keys) == set(keys))

    @property
    def singles(self) -> list[Share]:
        """Of single keys, largest first."""
        return self._ordered(1)

    @property
    def pairs(self) -> list[Share]:
        """Of pairs beyond what their keys explain alone, largest first."""
        return self._ordered(2)

    def _ordered(self, count: int) -> list[Share]:
        return sorted((s for s in self.shares if len(s.keys) == count), key=lambda s: -s.share)


class Forest:
    """A random forest over a space, and its exact means over parts of it.

    Args:
        axes: the space.
        columns: values by axis, as drawn.
        skill: one per row.
        seed: of the forest.
    """

    def __init__(
        self,
        axes: Sequence[Axis],
        columns: Mapping[str, Sequence[Any]],
        skill: NDArray[np.float64],
        seed: int = 0,
    ) -> None:
        self.axes = {axis.key: axis for axis in axes}
        inputs = np.hstack([axis.encode(columns[axis.key]) for axis in axes])
        # n_jobs stays 1: the sum over trees comes in one order.
        forest = RandomForestRegressor(n_estimators=_TREES, oob_score=True, random_state=seed).fit(inputs, skill)
        self.trust = float(forest.oob_score_)
        self.trees = [_Boxes(list(axes), estimator.tree_) for estimator in forest.estimators_]

    def grid(self, key: str, count: int = 60) -> NDArray[np.float64]:
        """Points along an axis, evenly on the scale it is drawn on; the identity matrix for choices."""
        axis = self.axes[key]
        if axis.low is None or axis.high is None:
            return np.eye(axis.width)
        return np.linspace(axis.low, axis.high, count)[:, None]

    def marginal(self, *keys: str, count: int = 60) -> NDArray[np.float64]:
        """Predicted skill along one key or over two, the mean over all else, [trees, points of the first, …]."""
        return np.stack([tree.mean_over(dict.fromkeys(keys), self, count) for tree in self.trees])


class _Boxes:
    """A tree as boxes: which part of each axis every leaf covers."""

    def __init__(self, axes: Sequence[Axis], tree: Any) -> None:
        leaves = tree.children_left < 0
        low = np.full((tree.node_count, tree.n_features), -np.inf)
        high = np.full((tree.node_count, tree.n_features), np.inf)
        for node in np.flatnonzero(~leaves):  # parents come before their children
            for child, bound, better in (
                (tree.children_left[node], high, np.minimum),
                (tree.children_right[node], low, np.maximum),
            ):
                low[child], high[child] = low[node], high[node]
                column = tree.feature[node]
                bound[child, column] = better(bound[child, column], tree.threshold[node])
        self.values = tree.value[leaves, 0, 0]
        self.low, self.high = low[leaves], high[leaves]
        self.columns, start = {}, 0
        for axis in axes:
            self.columns[axis.key] = slice(start, start + axis.width)
            start += axis.width
        self.cuts = {axis.key: self._cut(axis) for axis in axes}
        self.parts = {key: covered @ weights for key, (covered, weights) in self.cuts.items()}
        self.volume = np.prod(list(self.parts.values()), axis=0)
        self.mean = float(self.volume @ self.values)
        self.variance = float(self.volume @ (self.values - self.mean) ** 2)

    def covered(self, key: str, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Which leaf covers which point of an axis, 0 or 1, [leaves, points]."""
        low, high = (bound[:, None, self.columns[key]] for bound in (self.low, self.high))
        inside: NDArray[np.bool_] = ((points > low) & (points <= high)).all(axis=-1)
        return inside.astype(np.float64)

    def share(self, *keys: str) -> float:
        """Variance of the mean over all other keys, as a part of the tree's."""
        means = self._mean_over({key: covered for key, (covered, _) in self.cuts.items() if key in keys})
        weights = [self.cuts[key][1] for key in self.cuts if key in keys]
        weight = weights[0] if len(weights) == 1 else np.outer(*weights)
        return float((weight * (means - self.mean) ** 2).sum()) / self.variance

    def mean_over(self, keys: Mapping[str, Any], forest: Forest, count: int) -> NDArray[np.float64]:
        """The mean over all other keys at a grid of points."""
        return self._mean_over({key: self.covered(key, forest.grid(key, count)) for key in keys})

    def _mean_over(self, covered: Mapping[str, NDArray[np.float64]]) -> NDArray[np.float64]:
        rest = [part for key, part in self.parts.items() if key not in covered]
        weighted = self.values * np.prod(rest, axis=0)
        first, *others = covered.values()
        if not others:
            return np.asarray(weighted @ first)
        return np.asarray((first * weighted[:, None]).T @ others[0])

    def _cut(self, axis: Axis) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The pieces of an axis between the tree's splits: which leaf covers which, and how much of the axis each is."""
        if axis.low is None or axis.high is None:
            return self.covered(axis.key, np.eye(axis.width)), np.full(axis.width, 1 / axis.width)
        bounds = np.concatenate([b[:, self.columns[axis.key]].ravel() for b in (self.low, self.high)])
        edges = np.unique(np.clip(bounds, axis.low, axis.high))
        edges = np.unique(np.concatenate([edges, [axis.low, axis.high]]))
        middles = (edges[1:] + edges[:-1]) / 2
        return self.covered(axis.key, middles[:, None]), np.diff(edges) / (axis.high - axis.low)


def make_axes(space: Mapping[str, IntRange | FloatRange | Choices]) -> list[Axis]:
    """The keys that can be told apart: those with more than one value."""
    axes = []
    for key, values in space.items():
        if isinstance(values, Choices):
            axes += [Axis(key, choices=values.values)] if len(values.values) > 1 else []
        elif values.low < values.high:
            # A value of a grid stands for all that is rounded to it.
            margin = (values.step or 0.0) / 2
            ends = np.asarray([values.low - margin, values.high + margin])
            low, high = np.log(ends) if values.log else ends
            axes.append(Axis(key, float(low), float(high), values.log))
    return axes


def explain(trials: pd.DataFrame, axes: Sequence[Axis], cell: str | None = None, seed: int = 0) -> Explained | None:
    """Split the variance of skill over the space among keys, pairs and the rest.

    Args:
        trials: complete ones, with columns `cell`, `skill` and the axes' keys.
        cell: whose trials; all of them if not given, with the cell as one more key where there are several.

    Returns:
        None if there are too few trials, or all have one skill.
    """
    axes = list(axes)
    kinds = tuple(dict.fromkeys(trials[CELL]))
    if cell is not None:
        trials = trials[trials[CELL] == cell]
    elif len(kinds) > 1:
        axes.append(Axis(CELL, choices=kinds))
    skill = trials["skill"].to_numpy(dtype=np.float64)
    if not axes or len(trials) < FEWEST or np.ptp(skill) == 0:
        return None
    forest = Forest(axes, {axis.key: trials[axis.key].tolist() for axis in axes}, skill, seed)
    grown = [tree for tree in forest.trees if tree.variance > 0]
    keys = [axis.key for axis in axes]
    singles = {key: np.asarray([tree.share(key) for tree in grown]) for key in keys}
    parts: dict[tuple[str, ...], NDArray[np.float64]] = {(key,): share for key, share in singles.items()}
    for one, two in itertools.combinations(keys, 2):
        together = np.asarray([tree.share(one, two) for tree in grown])
        parts[one, two] = together - singles[one] - singles[two]
    parts[()] = 1 - np.sum(list(parts.values()), axis=0)
    shares = tuple(
        # Rounding alone may bring a share below 0.
        Share(keys, max(float(values.mean()), 0.0), float(values.std()))
        for keys, values in parts.items()
    )
    deviation = float(np.mean([tree.variance for tree in forest.trees])) ** 0.5
    return Explained(cell, len(trials), forest.trust, deviation, shares, forest)
