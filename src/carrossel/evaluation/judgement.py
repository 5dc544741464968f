"""What the rows of a competitor prove: the test against persistence, the interval of its skill, whether it is an echo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from carrossel.evaluation.echo import Echo, find_echo
from carrossel.evaluation.significance import LEVEL, bootstrap_skill, diebold_mariano, holm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from carrossel.targets.base import Unit

Verdict = Literal["beats persistence", "no evidence of skill", "echo", "suspiciously good: check for leakage"]

SUSPICIOUS: dict[Unit, float] = {"price": 0.2, "probability": 0.2, "log_variance": 0.9}
"""Skill from which on a leak is likelier than a discovery. Published one-bar-ahead skills are around 1 % for prices and
directions, and 30 to 60 % for log variances, whose persistence is a noisy forecast."""

SEED = 1


@dataclass(frozen=True)
class Judgement:
    """One competitor beside persistence on one part.

    Attributes:
        skill: 1 − MSE / MSE of persistence; `lower` and `upper` are the ends of its 95 % interval.
        p: of Diebold & Mariano's test, one-sided: the chance of such losses if it is no better than persistence.
        p_corrected: the same, corrected for the number of competitors tried (Holm).
        tried: that number.
    """

    skill: float
    lower: float
    upper: float
    p: float
    p_corrected: float
    tried: int
    verdict: Verdict
    echo: Echo | None

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def judge(rows: Mapping[str, pd.DataFrame], unit: Unit, horizon: int) -> dict[str, Judgement]:
    """Judge every competitor tried, corrected for their number.

    Args:
        rows: by competitor: `truth`, `forecast`, `unchanged` of the same rows and one horizon, in time order.
        unit: of those.
        horizon: bars ahead.

    Raises:
        ModelError: if persistence makes no error or there are too few rows.
    """
    tests = {}
    for name, part in rows.items():
        loss = (part["truth"] - part["forecast"]) ** 2
        reference = (part["truth"] - part["unchanged"]) ** 2
        tests[name] = (loss, reference, diebold_mariano(loss - reference, horizon))
    corrected = holm({name: test.p_better for name, (_, _, test) in tests.items()})
    found = {}
    for name, (loss, reference, test) in tests.items():
        interval = bootstrap_skill(loss, reference, seed=SEED, horizon=horizon)
        echo = None if unit == "probability" else find_echo(rows[name], horizon=horizon)
        found[name] = Judgement(
            skill=interval.skill,
            lower=interval.lower,
            upper=interval.upper,
            p=test.p_better,
            p_corrected=corrected[name],
            tried=len(rows),
            verdict=decide(interval.skill, corrected[name], unit, echo),
            echo=echo,
        )
    return found


def decide(skill: float, p_corrected: float, unit: Unit, echo: Echo | None) -> Verdict:
    """The verdict in the report's words."""
    if skill > SUSPICIOUS[unit]:
        return "suspiciously good: check for leakage"
    if skill > 0 and p_corrected < LEVEL:
        return "beats persistence"
    if echo is not None and echo.is_echo:
        return "echo"
    return "no evidence of skill"
