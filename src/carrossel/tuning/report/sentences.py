"""The page's sentences: what a study found, how sure that is, and no more."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Any

from optuna.trial import TrialState

from carrossel.evaluation.verdicts import format_skill
from carrossel.tuning.report.findings import ENOUGH, NO_REASON, REPEATED
from carrossel.tuning.variance import FEWEST

if TYPE_CHECKING:
    from collections.abc import Mapping

    from carrossel.tuning.report.findings import Findings

_NAMED = 3  # keys in the first sentence
_WORTH = 0.05  # share of a pair worth a sentence
_FORETOLD = 0.1  # share of unseen variance below which shares describe noise
_SECONDS = 120
_SAMPLERS = {
    "tpe": "TPE (Bergstra et al. 2011)",
    "cmaes": "CMA-ES (Hansen 2016)",
    "gp": "a Gaussian process",
    "random": "chance",
    "grid": "a grid, in random order",
}
_PRUNERS = {
    "median": "if they were below the median of the trials before",
    "hyperband": "by Hyperband (Li et al. 2018)",
    "asha": "by ASHA (Li et al. 2020)",
    "wilcoxon": "by Wilcoxon's test over folds",
}


def tell_headlines(found: Findings, verdict: Mapping[str, Any] | None) -> list[str]:
    """What the study found: what matters, which configuration is best, what the test part says of it."""
    return [" ".join(tell_importance(found)[:2]), tell_best(found), tell_verdict(found, verdict)]


def tell_importance(found: Findings) -> list[str]:
    """What explains skill, then how sure that is."""
    count = len(found.complete)
    trials = _count(count, "complete trial")
    if found.explained is None:
        if count < FEWEST:
            pruned = " Pruned trials don't count here." if found.of(TrialState.PRUNED) else ""
            return [
                f"Which knob matters can't be told from {trials}: it takes {FEWEST}, and {ENOUGH} to lean on it.{pruned}"
            ]
        return ["No knob that every trial drew made any difference: each has one value, or all trials have one skill."]
    shares = [(share.keys[0], share.share) for share in found.explained.singles]
    (first, share), *others = shares[:_NAMED]
    rest = "".join(f"; {key} {_share(part)}" for key, part in others)
    trust = found.explained.trust
    if trust < _FORETOLD:
        foretold = _share(trust) if trust > 0 else "nothing"
        unsure = f"Which knob matters can't be told from {trials}"
        said = [
            f"{unsure}: the values drawn foretell {foretold} of the variance of trials that weren't shown.",
            f"What shares there are describe noise ({first} {_share(share)}{rest}).",
        ]
    else:
        said = [f"{first} explains {_share(share)} of the variance in skill over {trials}{rest}."]
        said.append(
            f"From fewer than {ENOUGH} complete trials such shares are mostly noise."
            if count < ENOUGH
            else f"The values drawn foretell {_share(trust)} of the variance of trials that weren't shown; the rest is chance, or "
            "what the forest behind these shares doesn't see."
        )
    if found.explained.pairs and (pair := found.explained.pairs[0]).share >= _WORTH and trust >= _FORETOLD:
        said.append(f"{' and '.join(pair.keys)} together explain {_share(pair.share)} more than each alone.")
    if (hopeless := sum(trial.values[0] < found.floor for trial in found.complete)) > 0:
        said.append(
            f"{_count(hopeless, 'complete trial')} of skill below {format_skill(found.floor)} "
            f"{'counts' if hopeless == 1 else 'count'} as that, lest how far one diverged be all the variance there is."
        )
    if unseen := [key for key, space in found.distributions.items() if not space.single() and key not in dict(shares)]:
        said.append(f"Not every trial drew {', '.join(unseen)}: fANOVA leaves out such knobs, PED-ANOVA doesn't.")
    return said


def tell_best(found: Findings) -> str:
    """The best configuration, beside the default, and why its skill flatters."""
    if found.best is None:
        return "No trial is complete, so there is no best configuration."
    count = len(found.complete)
    best = f"Trial {found.best.number} is best: validation skill {format_skill(found.best.values[0])}"
    if found.default_trial is found.best:
        best += ", with the default's very values"
    elif found.default_trial is not None:
        best += f"; the default's is {format_skill(found.default_trial.values[0])}"
    elif found.default_pruned:
        best += "; the default was pruned"
    elif found.default:
        best += "; the default isn't among the complete trials"
    if count == 1:
        return f"{best}. It is the only complete trial: there was nothing to choose from."
    luck = f"{best}. It was chosen as the highest of {count}, so part of it is luck: expect less on bars to come."
    if len(found.objectives) > 1:
        luck += f" {_count(len(found.front), 'trial')} of {count} {'is' if len(found.front) == 1 else 'are'} on the Pareto front."
    return luck


def tell_verdict(found: Findings, verdict: Mapping[str, Any] | None) -> str:
    """What the test part says of the best configuration against the default."""
    if verdict is None:
        return (
            "Whether it is better than the default on the test part isn't known yet: that takes a full training of both "
            f"(dvc repro tune@{found.about.get('dataset', 'D')})."
        )
    return str(verdict["sentence"])


def tell_trials(found: Findings) -> list[str]:
    """How many trials there were, what became of them, how long they took, who drew and pruned."""
    counts = {
        "complete": len(found.of(TrialState.COMPLETE)),
        "pruned": len(found.of(TrialState.PRUNED)),
        "failed": len(found.of(TrialState.FAIL)) - found.failures.get(REPEATED, 0),
        "repeated after their driver died": found.failures.get(REPEATED, 0),
        "still running or waiting": len(found.of(TrialState.RUNNING, TrialState.WAITING)),
    }
    told = ", ".join(f"{count} {name}" for name, count in counts.items() if count or name == "complete")
    said = [f"{_count(len(found.trials), 'trial')}: {told}."]
    seconds = {
        name: [trial.user_attrs["seconds"] for trial in found.of(state) if "seconds" in trial.user_attrs]
        for name, state in (("complete", TrialState.COMPLETE), ("pruned", TrialState.PRUNED))
    }
    if times := [f"a {name} trial {_time(median(taken))}" for name, taken in seconds.items() if taken]:
        total = sum(sum(taken) for taken in seconds.values())
        said.append(f"In the median {' and '.join(times)}; all of them {_time(total)} of work.")
    if sampler := found.config.get("sampler"):
        # The default counts as one of those that a sampler begins with; gp and cmaes wait until as many are complete.
        chance = found.config.get("startup_trials", 0) - found.default_goes_first
        begun = ["the default first"] if found.default_goes_first else []
        if sampler not in {"random", "grid"} and chance > 0:
            begun.append(f"the {'next' if begun else 'first'} {chance} or more by chance")
        drawn = "; ".join([f"Drawn by {_SAMPLERS.get(sampler, sampler)}", *begun])
        pruner = found.config.get("pruner", "none")
        said.append(f"{drawn}; {'none pruned' if pruner == 'none' else 'pruned ' + _PRUNERS.get(pruner, pruner)}.")
    return said


def tell_failures(found: Findings) -> list[str]:
    """Reasons of failures, the commonest first."""
    said = []
    for reason, count in found.failures.items():
        if reason == NO_REASON:
            reason = "no reason was recorded (a driver that was killed leaves none)"  # noqa: PLW2901 - said for people
        said.append(f"{count} ×: {reason}")
    return said


def _share(share: float) -> str:
    return "less than 1 %" if 100 * share < 1 else f"{100 * share:.0f} %"


def _time(seconds: float) -> str:
    if seconds < _SECONDS:
        return f"{seconds:.2g} s" if seconds < 10 else f"{seconds:.0f} s"  # noqa: PLR2004 - two digits
    minutes = seconds / 60
    return f"{minutes:.0f} min" if minutes < _SECONDS else f"{minutes / 60:.1f} h"


def _count(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"
