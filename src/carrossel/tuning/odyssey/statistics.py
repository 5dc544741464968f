"""Which cells differ: distributions of random trials, and tests between cells.

What is compared is validation skill of trials, the best tenth chosen by that very figure: it tells which cell finds good
settings more easily, not how well one forecasts what nobody has seen.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import pandas as pd
from scipy.stats import kruskal, mannwhitneyu, ttest_ind
from statsmodels.stats.multitest import multipletests

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Of = Literal["best tenth", "all trials"]
SURE = 0.05
FEWEST = 5  # values a variance is estimated from


@dataclass(frozen=True)
class Pair:
    """Two cells, and the chance of a difference this large where there is none.

    Args:
        p: corrected by Holm for all pairs of its list.
    """

    first: str
    second: str
    p: float

    @property
    def differ(self) -> bool:
        """Whether they differ significantly."""
        return self.p < SURE


@dataclass(frozen=True)
class Comparison:
    """Tests between cells on one part of their trials.

    Args:
        of: best tenth (Welch's t-test, as in the paper) or all trials (Mann & Whitney).
        overall: Kruskal & Wallis over all cells; None for the best tenth.
        against: every other cell with the reference.
        pairs: all pairs.
    """

    of: Of
    overall: float | None
    reference: str
    against: tuple[Pair, ...]
    pairs: tuple[Pair, ...]
    cells: tuple[str, ...] = field(default=())

    def p_against(self, cell: str) -> float | None:
        """Corrected p of a cell with the reference; None for the reference itself."""
        return next((pair.p for pair in self.against if pair.first == cell), None)

    @property
    def groups(self) -> list[tuple[str, ...]]:
        """The largest sets of cells no two of which differ significantly, of two cells or more."""
        alike: dict[str, set[str]] = {cell: set() for cell in self.cells}
        for pair in self.pairs:
            if not pair.differ:
                alike[pair.first].add(pair.second)
                alike[pair.second].add(pair.first)
        found = _cliques(frozenset(), frozenset(self.cells), frozenset(), alike)
        ordered = [tuple(cell for cell in self.cells if cell in group) for group in found if len(group) > 1]
        return sorted(ordered, key=lambda group: (-len(group), [self.cells.index(cell) for cell in group]))


def complete(trials: pd.DataFrame) -> pd.DataFrame:
    """Trials that ended with a skill."""
    return trials[trials["state"] == "complete"]


def best_tenth(own: pd.DataFrame) -> pd.DataFrame:
    """The best tenth of one cell's complete trials, at least one, best first."""
    ordered = own.sort_values("skill", ascending=False, kind="stable")
    return ordered.head(max(1, len(ordered) // 10))


def order_cells(trials: pd.DataFrame) -> list[str]:
    """Cells by the median skill of their best tenth, highest first."""
    found = {cell: best_tenth(own)["skill"].median() for cell, own in complete(trials).groupby("cell", sort=False)}
    return sorted(map(str, found), key=lambda cell: -found[cell])


def compare(trials: pd.DataFrame, reference: str, of: Of) -> Comparison | None:
    """Test every cell against the reference, and every pair.

    Args:
        trials: columns `cell`, `state` and `skill`.
        reference: one of the cells.
        of: what is compared.

    Returns:
        None if there is one cell alone, or one of them has fewer than `FEWEST` values.
    """
    chosen = {
        cell: (best_tenth(own) if of == "best tenth" else own)["skill"].to_numpy(dtype=np.float64)
        for cell, own in complete(trials).groupby("cell", sort=False)
    }
    samples = {cell: chosen[cell] for cell in order_cells(trials)}
    if len(samples) < 2 or min(map(len, samples.values())) < FEWEST:  # noqa: PLR2004 - a test takes two
        return None
    others = [(cell, reference) for cell in samples if cell != reference]
    return Comparison(
        of,
        None if of == "best tenth" else _test_all(samples),
        reference,
        against=_test(others, samples, of),
        pairs=_test(list(itertools.combinations(samples, 2)), samples, of),
        cells=tuple(samples),
    )


def summarise(trials: pd.DataFrame, comparisons: Sequence[Comparison]) -> pd.DataFrame:
    """A row per cell, best first: trials, skill of the best tenth and of all, size, seconds, p against the reference."""
    rows = []
    for cell in order_cells(trials):
        mine = trials[trials["cell"] == cell]
        own = complete(mine)
        best = best_tenth(own)
        row = {
            "cell": cell,
            "trials": len(own),
            "failed": len(mine) - len(own),
            "best": own["skill"].max(),
            "best_tenth": len(best),
            "best_tenth_median": best["skill"].median(),
            "best_tenth_parameters": best["parameters"].median(),
            "lower_quartile": own["skill"].quantile(0.25),
            "median": own["skill"].median(),
            "upper_quartile": own["skill"].quantile(0.75),
            "parameters": own["parameters"].median(),
            "seconds": own["seconds"].median(),
        }
        for of in ("best tenth", "all trials"):
            test = next((found for found in comparisons if found.of == of), None)
            row[f"p_{of.replace(' ', '_')}"] = test.p_against(cell) if test else None
        rows.append(row)
    return pd.DataFrame(rows)


def _test(pairs: Sequence[tuple[str, str]], samples: Mapping[str, NDArray[np.float64]], of: Of) -> tuple[Pair, ...]:
    test = _welch if of == "best tenth" else _mann_whitney
    plain = [test(samples[one], samples[two]) for one, two in pairs]
    corrected = multipletests(plain, alpha=SURE, method="holm")[1]
    return tuple(Pair(one, two, float(p)) for (one, two), p in zip(pairs, corrected, strict=True))


def _welch(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    if np.ptp(one) == 0 and np.ptp(two) == 0:  # without variance there is nothing to weigh a difference by
        return float(one[0] == two[0])
    return float(ttest_ind(one, two, equal_var=False).pvalue)


def _mann_whitney(one: NDArray[np.float64], two: NDArray[np.float64]) -> float:
    return float(mannwhitneyu(one, two).pvalue)


def _test_all(samples: Mapping[str, NDArray[np.float64]]) -> float:
    if np.ptp(np.concatenate(list(samples.values()))) == 0:
        return 1.0
    return float(kruskal(*samples.values()).pvalue)


def _cliques(
    chosen: frozenset[str], open_: frozenset[str], closed: frozenset[str], alike: Mapping[str, set[str]]
) -> list[frozenset[str]]:
    """Bron & Kerbosch (1973)."""
    if not open_:
        return [] if closed else [chosen]
    found = []
    for cell in sorted(open_):
        found += _cliques(chosen | {cell}, open_ & alike[cell], closed & alike[cell], alike)
        open_, closed = open_ - {cell}, closed | {cell}
    return found
