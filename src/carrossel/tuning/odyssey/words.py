"""An odyssey in sentences: what was measured and no more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from carrossel.evaluation.comparison.formats import percent
from carrossel.evaluation.verdicts import format_p, format_percent
from carrossel.tuning.odyssey.statistics import FEWEST, SURE, best_tenth, complete, order_cells
from carrossel.tuning.variance import CELL

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from carrossel.tuning.odyssey.config import Odyssey
    from carrossel.tuning.odyssey.statistics import Comparison
    from carrossel.tuning.variance import Axis, Explained

# What the paper's variants take away from its LSTM.
_TAKEN = {
    "nig": "input gate",
    "nfg": "forget gate",
    "nog": "output gate",
    "niaf": "input activation",
    "noaf": "output activation",
    "np": "peepholes",
    "lstm": "peepholes",
}
_VANILLA = "peephole_diagonal"
_SMALL = 0.02  # share of the variance that isn't worth a search
_FEWEST_TO_SAY = 0.1  # R² out of bag; below, shares describe noise


def say_key(key: str) -> str:
    """`learning rate` for `training.learning_rate`."""
    return key.rpartition(".")[2].replace("_", " ")


def foretells(found: Explained | None) -> bool:
    """Whether shares of variance say something of trials that the forest hasn't seen."""
    return found is not None and found.trust >= _FEWEST_TO_SAY


def tell_variance(config: Odyssey, explained: Sequence[Explained]) -> list[str]:
    """What explains the variance of skill, over all cells and in each.

    Args:
        config: what was asked.
        explained: of all cells together first.
    """
    whole = next((found for found in explained if found.cell is None), None)
    if whole is None:
        return ["What explains the variance can't be said: there are too few trials, or all have the same skill."]
    where = f"{config.dataset}, {_count(whole.trials, 'trial')} of {_count(len(config.cells), 'cell')}"
    if not foretells(whole):
        return [
            (
                f"On {where}: what explains the variance can't be said, as a random forest doesn't foretell the skill of trials "
                f"it hasn't seen (R² = {_signed(whole.trust)})."
            )
        ]
    first, *others = whole.singles
    pair = whole.pairs[0] if whole.pairs else None
    together = f"; {_say_keys(pair.keys)} together {format_percent(pair.share)} beyond that" if pair else ""
    sentences = [
        f"On {where}: {_say_keys(first.keys)} explains {format_percent(first.share)} of the variance of validation skill"
        + "".join(f", {_say_keys(share.keys)} {format_percent(share.share)}" for share in others[:3])
        + f"{together} (a random forest that foretells trials it hasn't seen with R² = {_signed(whole.trust)})."
    ]
    idle = [share.keys[0] for share in whole.singles if share.share + _with_others(whole, share.keys[0]) < _SMALL]
    if idle:
        names = _list([say_key(key) for key in idle])
        sentences.append(
            f"{names[0].upper()}{names[1:]} {'is' if len(idle) == 1 else 'are'} not worth a search here: alone and with others "
            f"{'it explains' if len(idle) == 1 else 'each explains'} less than {format_percent(_SMALL)}."
        )
    return sentences + _tell_each(explained)


def tell_best_values(whole: Explained | None, axes: Sequence[Axis]) -> list[str]:
    """Where skill is highest along the keys that matter."""
    if whole is None or not foretells(whole):
        return []
    sentences = []
    for axis in axes:
        if whole.of(axis.key).share < _SMALL:
            continue
        curve = whole.forest.marginal(axis.key).mean(axis=0)
        best = int(np.argmax(curve))
        value = axis.choices[best] if axis.choices else f"{axis.decode(whole.forest.grid(axis.key)[best])[0]:.2g}"
        sentences.append(
            f"Averaged over everything else, skill is highest at {say_key(axis.key)} = {value}: {_say_skill(float(curve[best]))} "
            f"against {_say_skill(float(curve.min()))} at the worst."
        )
    return sentences


def tell_best(trials: pd.DataFrame) -> str:
    """Which cell's best tenth is highest."""
    names = order_cells(trials)
    own = complete(trials[trials["cell"] == names[0]])
    best = best_tenth(own)
    runner = ""
    if len(names) > 1:
        second = best_tenth(complete(trials[trials["cell"] == names[1]]))["skill"].median()
        runner = f", before {names[1]} with {_say_skill(float(second))}"
    return (
        f"The best tenth of {names[0]} ({len(best)} of {_count(len(own), 'trial')}) has the highest median validation skill, "
        f"{_say_skill(float(best['skill'].median()))}{runner}."
    )


def tell_differences(config: Odyssey, trials: pd.DataFrame, comparisons: Sequence[Comparison]) -> list[str]:
    """Who differs from the reference, and who can't be told from whom."""
    if len(order_cells(trials)) < 2:  # noqa: PLR2004 - a comparison takes two
        return ["One cell alone: there is nothing to compare it with."]
    sentences = []
    tenth = next((found for found in comparisons if found.of == "best tenth"), None)
    if tenth is None:
        sentences.append(
            f"{_count(config.trials, 'trial')} give a best tenth of {max(1, config.trials // 10)}: too few to test; "
            f"{10 * FEWEST} or more do."
        )
    for found in comparisons:
        sentences += _tell_comparison(found, trials)
    return sentences


def tell_ablations(trials: pd.DataFrame, comparison: Comparison | None) -> list[str]:
    """What each part of the paper's LSTM is good for: one sentence per cell that lacks one."""
    if comparison is None or comparison.reference != _VANILLA:
        return []
    sentences = []
    for pair in comparison.against:
        part = _TAKEN.get(pair.first)
        if part is None:
            continue
        plural = part.endswith("s")
        mine, whole = (_median(trials, cell, comparison) for cell in (pair.first, _VANILLA))
        numbers = (
            f"{pair.first} {_say_skill(mine)}, {_VANILLA} {_say_skill(whole)}, medians of {comparison.of}; "
            f"{format_p(pair.p)}"
        )
        if not pair.differ:
            sentences.append(
                f"No use of the {part} shows: without {'them' if plural else 'it'} skill doesn't differ significantly ({numbers})."
            )
            continue
        worse = mine < whole
        sentences.append(
            f"The {part} {'help' if worse else 'hurt'}{'' if plural else 's'}: without {'them' if plural else 'it'} skill is "
            f"{'lower' if worse else 'higher'} ({numbers})."
        )
    return sentences


def _tell_each(explained: Sequence[Explained]) -> list[str]:
    own = [found for found in explained if found.cell is not None]
    sure = [found for found in own if foretells(found)]
    sentences = []
    firsts: dict[str, list[Explained]] = {}
    for found in sure:
        firsts.setdefault(found.singles[0].keys[0], []).append(found)
    for key, founds in sorted(firsts.items(), key=lambda item: -len(item[1])):
        shares = sorted(founds, key=lambda found: found.of(key).share)
        low, high = shares[0], shares[-1]
        named = _list([str(found.cell) for found in founds])
        span = (
            f"{format_percent(high.of(key).share)}"
            if len(founds) == 1
            else f"{format_percent(low.of(key).share)} ({low.cell}) to {format_percent(high.of(key).share)} ({high.cell})"
        )
        sentences.append(f"Within {named} {say_key(key)} explains most: {span}.")
    unsure = [str(found.cell) for found in own if not foretells(found)]
    if unsure:
        sentences.append(
            f"Of {_list(unsure)} alone nothing can be said: the forest doesn't foretell trials it hasn't seen. More trials help."
        )
    return sentences


def _tell_comparison(found: Comparison, trials: pd.DataFrame) -> list[str]:
    named = "Welch's t-test of the best tenths" if found.of == "best tenth" else "Mann-Whitney test of all trials"
    sentences = []
    if found.overall is not None:
        sentences.append(
            f"Over all trials the cells {'differ' if found.overall < SURE else 'do not differ significantly'} "
            f"(Kruskal-Wallis, {format_p(found.overall)})."
        )
    far = [pair for pair in found.against if pair.differ]
    for worse in (True, False):
        cells = [
            pair
            for pair in far
            if (_median(trials, pair.first, found) < _median(trials, found.reference, found)) == worse
        ]
        if cells:
            said = _list([f"{pair.first} ({format_p(pair.p)})" for pair in cells])
            sentences.append(
                f"{'Lower' if worse else 'Higher'} than {found.reference}: {said}; {named}, corrected by Holm."
            )
    if not far:
        sentences.append(
            f"No cell differs significantly from {found.reference} ({named}, corrected by Holm; smallest "
            f"{format_p(min(pair.p for pair in found.against))})."
        )
    groups = found.groups
    if len(groups) == 1 and len(groups[0]) == len(found.cells):
        sentences.append(f"Nor do any two of the {len(found.cells)} cells differ from each other." if not far else "")
    elif groups:
        said = "; ".join(_list(list(group)) for group in groups)
        sentences.append(f"Not to be told from one another by {found.of}: {said}.")
    else:
        sentences.append("Every two cells differ significantly.")
    return [sentence for sentence in sentences if sentence]


def _median(trials: pd.DataFrame, cell: str, found: Comparison) -> float:
    own = complete(trials[trials["cell"] == cell])
    return float((best_tenth(own) if found.of == "best tenth" else own)["skill"].median())


def _with_others(found: Explained, key: str) -> float:
    return sum(share.share for share in found.pairs if key in share.keys)


def _say_keys(keys: tuple[str, ...]) -> str:
    return " and ".join("the cell" if key == CELL else say_key(key) for key in keys)


def _say_skill(skill: float) -> str:
    """Two decimals, as in the table: the best of random trials lie close together."""
    return percent(skill, 2, sign=True)


def _signed(value: float) -> str:
    return f"{value:.2f}".replace("-", "−")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _list(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
