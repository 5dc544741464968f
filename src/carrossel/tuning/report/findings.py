"""What a study found, as plain data for tables, sentences and figures; read from Optuna's study alone."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState

from carrossel.tuning.storage import lost_with_drivers
from carrossel.tuning.variance import CELL, FEWEST, Axis, explain

if TYPE_CHECKING:
    from collections.abc import Sequence

    import optuna
    from numpy.typing import NDArray
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

    from carrossel.tuning.variance import Explained

ENOUGH = 20
"""Complete trials below which shares of variance are mostly noise."""

_TOP = 0.1
_FEWEST_TOP = 5  # trials among the best: Optuna's advice for a stable PED-ANOVA
_SEED = 0
NO_REASON = "no reason was recorded"
REPEATED = "the driver died; queued again with the same values"


@dataclass(frozen=True)
class Findings:
    """A study and what follows from it.

    Attributes:
        study: in whatever state.
        trials: all, by number.
    """

    study: optuna.Study
    trials: tuple[FrozenTrial, ...]

    @property
    def about(self) -> dict[str, Any]:
        """The study's attributes."""
        return self.study.user_attrs

    @property
    def config(self) -> dict[str, Any]:
        """Section `tuning` as the study was made with."""
        return dict(self.about.get("config") or {})

    @property
    def objectives(self) -> tuple[str, ...]:
        """Names of the values, skill first."""
        names = tuple(self.about.get("objectives") or ())
        return names or ("skill", *(f"objective {n}" for n in range(2, len(self.study.directions) + 1)))

    @cached_property
    def complete(self) -> tuple[FrozenTrial, ...]:
        """Trials that came to an end with finite values."""
        return tuple(trial for trial in self.of(TrialState.COMPLETE) if np.isfinite(trial.values).all())

    @cached_property
    def distributions(self) -> dict[str, BaseDistribution]:
        """Every key that any trial drew, in the order of the space where that is known."""
        seen = {key: space for trial in self.trials for key, space in trial.distributions.items()}
        order = [key for key in self.config.get("space", {}) if key in seen]
        return {key: seen[key] for key in [*order, *(key for key in seen if key not in order)]}

    @property
    def best(self) -> FrozenTrial | None:
        """The complete trial of highest skill, the earlier of equal ones; None if none is complete."""
        return max(self.complete, key=lambda trial: (skill_of(trial), -trial.number), default=None)

    @property
    def front(self) -> list[FrozenTrial]:
        """Trials that no other beats in every objective, by skill."""
        return sorted(self.study.best_trials, key=skill_of) if self.complete else []

    @property
    def default(self) -> dict[str, Any]:
        """The recipe's own values at the space's keys."""
        return dict(self.about.get("default") or {})

    @cached_property
    def default_trial(self) -> FrozenTrial | None:
        """The first complete trial of the default's values: usually the study's first."""
        return next((trial for trial in self.complete if self._is_default(trial)), None)

    @property
    def default_pruned(self) -> bool:
        """Whether the pruner gave the default up."""
        return any(self._is_default(trial) for trial in self.of(TrialState.PRUNED))

    @property
    def default_goes_first(self) -> bool:
        """Whether the study began with the default rather than with a draw."""
        return bool(self.trials) and self._is_default(self.trials[0])

    def _is_default(self, trial: FrozenTrial) -> bool:
        # A trial doesn't draw what hangs on values that it hasn't; the default has a value at every key.
        return bool(trial.params) and trial.params.items() <= self.default.items()

    def of(self, *states: TrialState) -> tuple[FrozenTrial, ...]:
        """Trials in one of these states."""
        return tuple(trial for trial in self.trials if trial.state in states)

    @cached_property
    def lost(self) -> set[int]:
        """Numbers of trials that failed with their driver, not by themselves."""
        return lost_with_drivers(self.trials)

    @cached_property
    def failures(self) -> dict[str, int]:
        """How many trials failed for each reason, the commonest first."""
        reasons = [
            REPEATED if trial.number in self.lost else trial.user_attrs.get("reason") or NO_REASON
            for trial in self.of(TrialState.FAIL)
        ]
        return {str(reason): int(count) for reason, count in pd.Series(reasons, dtype=object).value_counts().items()}

    @cached_property
    def skills(self) -> NDArray[np.float64]:
        """Skill of every complete trial, hopeless ones raised to `floor`."""
        return np.maximum([skill_of(trial) for trial in self.complete], self.floor)

    @cached_property
    def floor(self) -> float:
        """Skill below which a trial counts as hopeless.

        How far one diverged is chance, and one of them would be all the variance there is.
        """
        if not self.complete:
            return -np.inf
        return fence([skill_of(trial) for trial in self.complete])

    @cached_property
    def explained(self) -> Explained | None:
        """Functional ANOVA of skill over the keys that every complete trial drew; None if there are too few trials."""
        axes = [
            axis
            for key, space in self.distributions.items()
            if all(trial.distributions.get(key) == space for trial in self.complete)
            and (axis := _make_axis(key, space))
        ]
        table = pd.DataFrame({axis.key: [trial.params[axis.key] for trial in self.complete] for axis in axes})
        table["skill"], table[CELL] = self.skills, ""
        return explain(table, axes, seed=_SEED)

    @cached_property
    def ped_anova(self) -> dict[str, float]:
        """PED-ANOVA of skill: each key's share in what parts the best trials from all; empty if there are too few."""
        if len(self.complete) < FEWEST:
            return {}
        evaluator = PedAnovaImportanceEvaluator(
            target_quantile=max(_TOP, _FEWEST_TOP / len(self.complete)), region_quantile=1.0, evaluate_on_local=True
        )
        with warnings.catch_warnings():
            # `normalize` is marked experimental, `target` explains itself, and rare values of conditional keys are left out.
            warnings.simplefilter("ignore")
            found = get_param_importances(
                self.study, evaluator=evaluator, target=lambda trial: -skill_of(trial), normalize=False
            )
        total = sum(found.values())
        return {key: float(found[key]) / total for key in self.distributions if key in found} if total else {}

    @cached_property
    def importance(self) -> pd.DataFrame:
        """Columns `key`, `ped_anova`, `fanova`; the most important first, NaN where nothing can be said."""
        fanova = {share.keys[0]: share.share for share in self.explained.singles} if self.explained else {}
        if self.explained:  # keys of one value explain nothing; of conditional ones fANOVA can't tell
            fanova |= {key: 0.0 for key, space in self.distributions.items() if space.single()}
        rows = [(key, self.ped_anova.get(key, np.nan), fanova.get(key, np.nan)) for key in self.distributions]
        table = pd.DataFrame(rows, columns=["key", "ped_anova", "fanova"])
        return table.sort_values(["fanova", "ped_anova"], ascending=False, kind="stable", ignore_index=True)


def find(study: optuna.Study) -> Findings:
    """Look at a study."""
    return Findings(study, tuple(study.get_trials(deepcopy=False)))


def skill_of(trial: FrozenTrial) -> float:
    """The first objective of a complete trial."""
    return float(trial.values[0])  # noqa: PD011 - Optuna's trial, no frame


def fence(values: Sequence[float] | NDArray[np.float64]) -> float:
    """Three times the quartiles' distance below the lower one: Tukey's outer fence."""
    lower, upper = np.quantile(values, (0.25, 0.75))
    return float(lower - 3 * (upper - lower))


def epochs_run(trial: FrozenTrial) -> int | None:
    """Epochs a trial ran, over all folds; None where it reported none."""
    return trial.user_attrs.get("epochs", len(trial.intermediate_values) or None)


def _make_axis(key: str, space: BaseDistribution) -> Axis | None:
    if space.single():
        return None
    if isinstance(space, CategoricalDistribution):
        return Axis(key, choices=space.choices)
    assert isinstance(space, IntDistribution | FloatDistribution)  # noqa: S101 - Optuna has no fourth
    # A value of a grid stands for all that is rounded to it.
    margin = (space.step or 0.0) / 2
    ends = np.asarray([space.low - margin, space.high + margin])
    low, high = np.log(ends) if space.log else ends
    return Axis(key, float(low), float(high), space.log)
