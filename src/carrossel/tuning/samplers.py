"""Who draws a trial's values and who ends it early, by name, every setting pinned: what Optuna takes by default may change."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.pruners import HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner, WilcoxonPruner
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from optuna.trial import TrialState

from carrossel.errors import StudyError
from carrossel.forecaster.module import mix
from carrossel.tuning.config import Choices

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial

    from carrossel.tuning.config import Choice, Tuning

# The version is pinned, so nobody needs to be told at every run what Optuna calls experimental.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning, message=".*(group|source_trials).*")
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning, message="WilcoxonPruner.*")

_MEDIAN_AFTER = 2  # finished trials before their median means something
REDUCTION = 3  # one of three goes on to the next rung (Li et al. 2018, section 3.6)
_P_PRUNED = 0.1  # one-sided; reached with 4 folds at the earliest, as 2^-4 < 0.1
_WARM_START_SHARE = 10  # one trial of ten is taken for good by Nomura et al. (2021): fewer than ten are counted tenfold


class Samplers:
    """Samplers of one study, one for each trial, each seeded by its trial's number.

    So a resumed study goes on where an undisturbed one would have been. CMA-ES alone remembers something from trial to trial,
    which is why this object lives as long as the driver.

    Raises:
        StudyError: if the sampler can't draw any of the space.
    """

    def __init__(self, config: Tuning) -> None:
        self._config = config
        self._evolution = Evolution(config) if config.sampler == "cmaes" else None

    def for_trial(self, study: Study, number: int) -> BaseSampler:
        """The sampler of the trial that is asked for next.

        Args:
            number: the trial's, as far as one can know.
        """
        config, seed = self._config, _seed(self._config, number)
        if self._evolution:
            return self._evolution.following(study, seed)
        if config.sampler == "grid":
            return GridOrder(config)
        if config.sampler == "random":
            return RandomSampler(seed=seed)
        if config.sampler == "gp":
            return GPSampler(
                seed=seed,
                independent_sampler=RandomSampler(seed=seed),
                n_startup_trials=config.startup_trials,
                deterministic_objective=False,
                warn_independent_sampling=False,
            )
        return TPESampler(
            n_startup_trials=config.startup_trials,
            n_ei_candidates=24,
            multivariate=True,
            group=True,  # else knobs under a condition would be drawn one by one
            constant_liar=True,
            seed=seed,
        )


def make_pruner(config: Tuning) -> BasePruner:
    """The pruner; at the earliest it ends a trial at its report number `prune_after`, or 1 if that is 0."""
    first = max(config.prune_after, 1)
    if config.pruner == "median":
        return MedianPruner(
            n_startup_trials=_MEDIAN_AFTER, n_warmup_steps=config.prune_after, interval_steps=1, n_min_trials=1
        )
    if config.pruner == "hyperband":
        return HyperbandPruner(
            min_resource=first,
            max_resource=config.epochs * config.folds,
            reduction_factor=REDUCTION,
            bootstrap_count=0,
        )
    if config.pruner == "asha":
        return SuccessiveHalvingPruner(
            min_resource=first, reduction_factor=REDUCTION, min_early_stopping_rate=0, bootstrap_count=0
        )
    if config.pruner == "wilcoxon":
        return WilcoxonPruner(p_threshold=_P_PRUNED, n_startup_steps=first)
    return NopPruner()


def count_grid(config: Tuning) -> int:
    """Points of the grid; 0 where a knob has no values that could be counted."""
    return math.prod(len(space.values or ()) for space in config.space.values())


def points_left(config: Tuning, trials: Sequence[FrozenTrial]) -> int | None:
    """Trials that may still be asked for: points nobody began, and what is queued; None where there is no end."""
    if config.sampler != "grid":
        return None
    queued = sum(trial.state == TrialState.WAITING for trial in trials)
    return max(count_grid(config) - len(list(_begun(trials))), 0) + queued


class _OneByOne(BaseSampler):
    """Looks every knob up alone: Optuna asks for a joint draw first, and there is none."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Nothing."""
        del study, trial
        return {}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """Nothing."""
        del study, trial, search_space
        return {}


class GridOrder(_OneByOne):
    """Every point of the grid once, in an order drawn from the study's seed.

    The n-th trial that isn't a repetition has the n-th point. Optuna's GridSampler stops the study itself, which ask and tell
    don't allow, and gives points twice where trials were repeated.
    """

    def __init__(self, config: Tuning) -> None:
        self._values = {key: space.values or () for key, space in config.space.items()}
        self._order = np.random.default_rng(config.seed).permutation(count_grid(config))

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Choice:
        """The knob's value at the trial's point.

        Raises:
            StudyError: if every point was given away before.
        """
        del param_distribution
        # From the storage: hyperband shows samplers a part of the trials only.
        trials = study._storage.get_all_trials(study._study_id, deepcopy=False)  # noqa: SLF001 - as Optuna's own grid does
        first = trial.system_attrs.get("failed_trial", trial.number)
        place = sum(begun.number < first for begun in _begun(trials))
        if place >= len(self._order):
            raise StudyError(f"{study.study_name}: the grid's {len(self._order)} points were all tried.")
        point = np.unravel_index(self._order[place], [len(values) for values in self._values.values()])
        return self._values[param_name][point[list(self._values).index(param_name)]]


class Evolution(_OneByOne):
    """CMA-ES over the numbers of the space (Hansen 2016); choices and knobs under a condition are drawn at random.

    Optuna's sampler keeps its state with the trials, as a pickle. So it works on a study of its own in memory, told of every
    trial that ended; the real one holds no pickle. It begins at the best of the trials finished before (Nomura et al. 2021):
    the random ones it starts with, or whatever a killed driver left.
    """

    def __init__(self, config: Tuning) -> None:
        self._config = config
        self._numbers = _numbers(config)
        self._random = RandomSampler(seed=0)
        self._study: Study | None = None
        self._twin: Study | None = None
        self._asked: dict[int, Trial] = {}
        self._told: set[int] = set()

    def following(self, study: Study, seed: int) -> Evolution:
        """The same, ready for the study's next trial."""
        self._study, self._random = study, RandomSampler(seed=seed)
        finished = [
            (trial, value) for trial in study.get_trials(deepcopy=False) if (value := self._value(trial)) is not None
        ]
        if self._twin is None and len(finished) >= self._config.startup_trials:
            self._twin = self._begin([self._told_before(*one) for one in finished], seed)
        return self

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Choice:
        """The value of the twin's trial, or a random one."""
        if self._twin is None or param_name not in self._numbers:
            drawn: Choice = self._random.sample_independent(study, trial, param_name, param_distribution)
            return drawn
        if trial.number not in self._asked:
            self._follow(self._twin)
            self._asked[trial.number] = self._twin.ask(self._numbers)
        value: Choice = self._asked[trial.number].params[param_name]
        return value

    def _begin(self, finished: list[FrozenTrial], seed: int) -> Study:
        few = len(finished) < _WARM_START_SHARE
        sampler = CmaEsSampler(
            n_startup_trials=1,
            independent_sampler=RandomSampler(seed=seed),
            warn_independent_sampling=False,
            seed=seed,
            consider_pruned_trials=False,
            popsize=4 + math.floor(3 * math.log(len(self._numbers))),  # Hansen 2016, equation 48
            use_separable_cma=False,
            with_margin=False,
            lr_adapt=False,
            source_trials=finished * _WARM_START_SHARE if few else finished,
        )
        twin = optuna.create_study(
            storage=optuna.storages.InMemoryStorage(), sampler=sampler, pruner=NopPruner(), direction="maximize"
        )
        twin.add_trials(finished)
        return twin

    def _follow(self, twin: Study) -> None:
        ended = self._study.get_trials(deepcopy=False) if self._study else []
        for trial in ended:
            if trial.number in self._asked.keys() - self._told and trial.state.is_finished():
                value = self._value(trial)
                state = TrialState.FAIL if value is None else TrialState.COMPLETE
                twin.tell(self._asked[trial.number], value, state=state)
                self._told.add(trial.number)

    def _told_before(self, trial: FrozenTrial, value: float) -> FrozenTrial:
        params = {key: trial.params[key] for key in self._numbers}
        return optuna.create_trial(value=value, params=params, distributions=self._numbers)

    def _value(self, trial: FrozenTrial) -> float | None:
        """What a trial is worth; of a pruned one its last report, but only where rungs end most trials."""
        value = trial.value if trial.state == TrialState.COMPLETE else None
        if trial.state == TrialState.PRUNED and self._config.pruner in {"hyperband", "asha"}:
            value = trial.intermediate_values.get(-1 if trial.last_step is None else trial.last_step)
        return value if value is not None and math.isfinite(value) else None


def _seed(config: Tuning, number: int) -> int:
    return mix(config.seed, number) % 2**32


def _begun(trials: Iterable[FrozenTrial]) -> Iterable[FrozenTrial]:
    """Trials for which a point was drawn: neither repeated nor given by hand."""
    return (trial for trial in trials if not {"failed_trial", "fixed_params"} & trial.system_attrs.keys())


def _numbers(config: Tuning) -> dict[str, BaseDistribution]:
    """What CMA-ES can move: ranges of more than one value that every trial draws."""
    probe = optuna.create_study(storage=optuna.storages.InMemoryStorage(), sampler=RandomSampler(seed=0)).ask()
    for key, space in config.space.items():
        if not isinstance(space, Choices) and not space.when:
            space.suggest(key, probe)
    numbers = {key: distribution for key, distribution in probe.distributions.items() if not distribution.single()}
    if not numbers:
        raise StudyError("tuning.sampler = cmaes: no range of numbers stands in tuning.space; choose tpe or random.")
    return numbers
