"""What the policies' forecasts prove: skill, the gain over never retraining, and whether more retraining pays."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pandas as pd

from carrossel.evaluation.judgement import SEED
from carrossel.evaluation.significance import LEVEL, bootstrap_skill, diebold_mariano, holm
from carrossel.evaluation.verdicts import format_p, format_percent, format_skill
from carrossel.online.policy.policies import NEVER, RetrainingPolicy

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from carrossel.evaluation.significance import SkillInterval
    from carrossel.online.policy.backtest import Backtest

    Losses = Mapping[str, NDArray[np.float64]]

REFERENCE = RetrainingPolicy(NEVER, "expanding")


@dataclass(frozen=True)
class Gain:
    """A policy beside never retraining.

    Attributes:
        interval: 1 − MSE / MSE of never retraining, with its 95 % interval.
        p: the chance of losses this low if the policy is no better (Diebold & Mariano, one-sided).
        p_corrected: the same, corrected for the number of policies tried (Holm).
    """

    interval: SkillInterval
    p: float
    p_corrected: float


@dataclass(frozen=True)
class Finding:
    """One policy.

    Attributes:
        cpu_seconds: of its fits.
        rows: forecasts judged, the same for all policies.
        skill: 1 − MSE / MSE of 'tomorrow = today', with its 95 % interval.
        gain: None for never retraining itself, with an expanding window.
    """

    policy: RetrainingPolicy
    fits: int
    cpu_seconds: float
    rows: int
    skill: SkillInterval
    gain: Gain | None

    @property
    def value(self) -> float:
        """Of the gain; 0 for never retraining."""
        return self.gain.interval.skill if self.gain else 0.0


def find(backtest: Backtest) -> tuple[Finding, ...]:
    """Judge every policy on the same rows.

    Raises:
        ModelError: if persistence makes no error or there are too few rows.
    """
    horizon, losses = backtest.horizon, _losses(backtest)
    asked = backtest.outcomes[0].rows
    unchanged = ((asked["truth"] - asked["unchanged"]) ** 2).to_numpy()
    never = losses[REFERENCE.name]
    p_values = {
        name: diebold_mariano(loss - never, horizon).p_better for name, loss in losses.items() if name != REFERENCE.name
    }
    corrected = holm(p_values)
    gains = {
        name: Gain(bootstrap_skill(losses[name], never, seed=SEED, horizon=horizon), p, corrected[name])
        for name, p in p_values.items()
    }
    return tuple(
        Finding(
            policy=outcome.policy,
            fits=outcome.fits,
            cpu_seconds=outcome.cpu_seconds,
            rows=len(outcome.rows),
            skill=bootstrap_skill(losses[outcome.policy.name], unchanged, seed=SEED, horizon=horizon),
            gain=gains.get(outcome.policy.name),
        )
        for outcome in backtest.outcomes
    )


def tabulate(findings: Sequence[Finding]) -> pd.DataFrame:
    """One row per policy, with the columns of `Finding`; those of the gain are empty where there is none."""
    return pd.DataFrame(
        [
            {
                "policy": found.policy.name,
                "rule": found.policy.rule,
                "window": found.policy.window,
                "fits": found.fits,
                "cpu_seconds": found.cpu_seconds,
                "rows": found.rows,
                **_columns("skill", found.skill),
                **_columns("gain", found.gain.interval if found.gain else None),
                "p": found.gain.p if found.gain else None,
                "p_corrected": found.gain.p_corrected if found.gain else None,
            }
            for found in findings
        ]
    )


def conclude(backtest: Backtest, findings: Sequence[Finding]) -> str:
    """Does retraining pay, and more often more? One sentence that claims what the tests bear out.

    The cheapest policy that is better than never retraining is named, and the best of those that retrain more often than it,
    tested against it and corrected for their number. Where even that one can't be told from 'tomorrow = today', it says so.
    """
    what = f"{backtest.model} on {backtest.dataset}"
    tried = f"corrected for {len(findings) - 1} tried"
    refitted = [(found, found.gain) for found in findings if found.gain and found.fits > 1]
    if not refitted:
        return f"Nothing was retrained: {what} had one fit under every policy."
    winners = [pair for pair in refitted if pair[1].p_corrected < LEVEL and pair[1].interval.skill > 0]
    if not winners:
        best, gain = max(refitted, key=lambda pair: pair[1].interval.skill)
        return (
            f"Retraining {what} doesn't pay: no policy has less squared error than never retraining by more than luck. The best, "
            f"{best.policy.name}, has {_compare(best.value)} ({format_p(gain.p_corrected)}, {tried}) for {best.fits} fits "
            "instead of 1."
        )
    cheapest, gain = min(winners, key=lambda pair: pair[0].cpu_seconds)
    futile = (
        ""
        if cheapest.skill.lower > 0
        else f", but not beside 'tomorrow = today' (skill {format_skill(cheapest.skill.skill)})"
    )
    head = (
        f"Retraining {what} pays{futile}: {cheapest.policy.name}, the cheapest policy that helps, has {_compare(cheapest.value)} "
        f"squared error than never retraining ({format_p(gain.p_corrected)}, {tried}) for {cheapest.fits} fits instead of 1"
    )
    oftener = [found.policy.name for found, _ in refitted if found.fits > cheapest.fits]
    if not oftener:
        return f"{head}; no policy retrained more often."
    losses = _losses(backtest)
    reference = losses[cheapest.policy.name]
    tests = {name: diebold_mariano(losses[name] - reference, backtest.horizon) for name in oftener}
    corrected = holm({name: test.p_better for name, test in tests.items()})
    best_name = min(tests, key=lambda name: tests[name].mean)
    further = -tests[best_name].mean / float(reference.mean())
    pays = further > 0 and corrected[best_name] < LEVEL
    return (
        f"{head}; more often pays {'further' if pays else 'no further'}: {best_name} has {_compare(further)} than that "
        f"({format_p(corrected[best_name])}, corrected for {len(tests)})."
    )


def _losses(backtest: Backtest) -> dict[str, NDArray[np.float64]]:
    return {
        outcome.policy.name: ((outcome.rows["truth"] - outcome.rows["forecast"]) ** 2).to_numpy()
        for outcome in backtest.outcomes
    }


def _columns(name: str, interval: SkillInterval | None) -> dict[str, float | None]:
    return {
        name: interval.skill if interval else None,
        f"{name}_lower": interval.lower if interval else None,
        f"{name}_upper": interval.upper if interval else None,
    }


def _compare(gain: float) -> str:
    return f"{format_percent(abs(gain))} {'less' if gain >= 0 else 'more'}"
