"""What the rows of a competitor prove: the test against persistence, the interval of its skill, whether it is an echo."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from carrossel.evaluation.echo import Echo, find_echo
from carrossel.evaluation.scores import pesaran_timmermann
from carrossel.evaluation.significance import LEVEL, bootstrap_skill, diebold_mariano, holm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from carrossel.targets.base import Unit

Verdict = Literal["beats persistence", "no evidence of skill", "echo", "suspiciously good: check for leakage"]

SUSPICIOUS: dict[Unit, float] = {"price": 0.2, "probability": 0.2, "log_variance": 0.75}
"""Skill from which on a leak is likelier than a discovery. Published one-bar-ahead skills are around 1 % for prices and
directions, and 30 to 60 % for log variances, whose persistence is a noisy forecast."""

SEED = 1
EVEN = 0.5


@dataclass(frozen=True)
class Judgement:
    """One competitor beside persistence on one part.

    Attributes:
        skill: 1 − MSE / MSE of persistence; `lower` and `upper` are the ends of its 95 % interval.
        p: of Diebold & Mariano's test, one-sided: the chance of such losses if it is no better than persistence. Of a
            probability of up the larger of that and Pesaran & Timmermann's: to know how often prices rise isn't to know when.
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
    """Judge every competitor tried at one horizon; see `judge_horizons`."""
    return judge_horizons({horizon: rows}, unit)[horizon]


def judge_horizons(rows: Mapping[int, Mapping[str, pd.DataFrame]], unit: Unit) -> dict[int, dict[str, Judgement]]:
    """Judge every competitor at every horizon, corrected for the number of questions: competitors times horizons.

    Args:
        rows: by horizon (bars ahead) and competitor: `truth`, `forecast`, `unchanged` of the same rows, in time order.
        unit: of those.

    Raises:
        ModelError: if persistence makes no error or there are too few rows.
    """
    tests = {
        (horizon, name): _test(part, unit, horizon) for horizon, parts in rows.items() for name, part in parts.items()
    }
    corrected = dict(zip(tests, holm({str(key): test.p for key, test in tests.items()}).values(), strict=True))
    found: dict[int, dict[str, Judgement]] = {horizon: {} for horizon in rows}
    for (horizon, name), test in tests.items():
        p = corrected[horizon, name]
        interval = bootstrap_skill(test.loss, test.reference, seed=SEED, horizon=horizon)
        echo = None if unit == "probability" else find_echo(rows[horizon][name], horizon=horizon)
        found[horizon][name] = Judgement(
            skill=interval.skill,
            lower=interval.lower,
            upper=interval.upper,
            p=test.p,
            p_corrected=p,
            tried=len(tests),
            verdict=decide(interval.skill, p, unit, echo),
            echo=echo,
        )
    return found


class _Test(NamedTuple):
    loss: pd.Series
    reference: pd.Series
    p: float


def _test(part: pd.DataFrame, unit: Unit, horizon: int) -> _Test:
    loss = (part["truth"] - part["forecast"]) ** 2
    reference = (part["truth"] - part["unchanged"]) ** 2
    p = diebold_mariano(loss - reference, horizon).p_better
    if unit == "probability":
        timing = pesaran_timmermann(part["truth"], (part["forecast"] > EVEN).astype(float))
        p = max(p, timing.p if timing else 1.0)
    return _Test(loss, reference, p)


def decide(skill: float, p_corrected: float, unit: Unit, echo: Echo | None) -> Verdict:
    """The verdict in the report's words."""
    if skill > SUSPICIOUS[unit]:
        return "suspiciously good: check for leakage"
    if skill > 0 and p_corrected < LEVEL:
        return "beats persistence"
    if echo is not None and echo.is_echo:
        return "echo"
    return "no evidence of skill"
