"""May a challenger become champion? Rows in, decision out: no clock, no file, no server."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from carrossel.errors import ModelError
from carrossel.evaluation.calibration import conformal_intervals, coverage
from carrossel.evaluation.judgement import judge_horizons
from carrossel.evaluation.significance import LEVEL, diebold_mariano
from carrossel.evaluation.verdicts import format_p, format_skill
from carrossel.targets.base import QUANTILES, quantile_column

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

    from carrossel.evaluation.judgement import Judgement
    from carrossel.online.config import Gate
    from carrossel.targets.base import Unit

SKILL, ROWS, BETTER, COVERAGE = (
    "beats persistence",
    "enough unseen bars",
    "better than the champion",
    "intervals hold",
)

_SAME = 1e-9  # levels are sums of decimals
_USUAL_LEVEL = 0.9  # of intervals, where the manifest has none


@dataclass(frozen=True)
class Verdict:
    """What a challenger proved beside persistence; the part of `Judgement` that counts here.

    Attributes:
        p_corrected: of Diebold & Mariano's test, corrected for the challengers tried (Holm) and for `before`.
        before: decisions that were made on some of the same bars before.
    """

    verdict: str
    skill: float
    p_corrected: float
    tried: int
    before: int = 0

    @classmethod
    def of(cls, found: Judgement) -> Verdict:
        """The part of a judgement that counts."""
        return cls(found.verdict, found.skill, found.p_corrected, found.tried)

    def after(self, decisions: int) -> Verdict:
        """The same, with Bonferroni's correction for earlier decisions on some of the same bars: each was one more try."""
        p = min(1.0, self.p_corrected * (1 + decisions))
        lost = self.verdict == "beats persistence" and p >= LEVEL
        return replace(self, verdict="no evidence of skill" if lost else self.verdict, p_corrected=p, before=decisions)


@dataclass(frozen=True)
class Condition:
    """One thing a challenger must show, and whether it did, in words."""

    name: str
    passed: bool
    said: str


@dataclass(frozen=True)
class Decision:
    """Whether a challenger becomes champion.

    Attributes:
        conditions: all that were asked; it is promoted if every one passed.
        figures: what they rest on, plain numbers.
        reason: a sentence for people.
    """

    promote: bool
    conditions: tuple[Condition, ...]
    figures: dict[str, float | int | None]
    reason: str

    def as_dict(self) -> dict[str, Any]:
        """Plain data for the ledger."""
        return {
            "conditions": {c.name: {"passed": c.passed, "said": c.said} for c in self.conditions},
            "figures": self.figures,
        }


@dataclass(frozen=True)
class Incumbent:
    """The champion's answers to the challenger's questions.

    Attributes:
        name: for people, such as `version 3 (lstm)`.
        rows: `origin` and `forecast`, in the challenger's unit, of the nearest horizon.
        seen: origin of the last row it was chosen on: the end of its own validation part.
    """

    name: str
    rows: pd.DataFrame
    seen: pd.Timestamp


def nearest(forecasts: pd.DataFrame, split: str | None = None) -> pd.DataFrame:
    """Rows of the nearest horizon, which decides, in time order, index from 0.

    Args:
        forecasts: as in a model folder's forecasts.parquet.
        split: one part; all if not given.
    """
    rows: pd.DataFrame = forecasts[forecasts["horizon"] == forecasts["horizon"].min()]
    if split is not None:
        rows = rows[rows["split"] == split]
    return rows.sort_values("origin", ignore_index=True)


def choose_by_validation(forecasts: Mapping[str, pd.DataFrame]) -> str:
    """The candidate of highest skill on its validation part, ties by name.

    Args:
        forecasts: by candidate, as in a model folder's forecasts.parquet.

    Raises:
        ModelError: if none has a skill there.
    """
    skills = {}
    for name, found in forecasts.items():
        rows = nearest(found, "validation")
        loss, reference = (((rows["truth"] - rows[c]) ** 2).mean() for c in ("forecast", "unchanged"))
        if reference > 0 and loss >= 0:  # NaN is neither
            skills[name] = 1 - loss / reference
    if not skills:
        raise ModelError(
            f"none of {', '.join(sorted(forecasts)) or 'no candidate'} has a skill on its validation part: persistence "
            "makes no error there, or there is no row. Check the bars of that part."
        )
    return min(skills, key=lambda name: (-skills[name], name))


def judge_candidates(forecasts: Mapping[str, pd.DataFrame], unit: Unit) -> dict[str, Verdict]:
    """What each candidate proved beside persistence on its test part, corrected for all tried at all horizons.

    Args:
        forecasts: by candidate, as in a model folder's forecasts.parquet.

    Raises:
        ModelError: see `judge_horizons`.
    """
    horizons = sorted({int(h) for found in forecasts.values() for h in found["horizon"].unique()})
    parts = {
        horizon: {
            name: found[(found["split"] == "test") & (found["horizon"] == horizon)].sort_values(
                "origin", ignore_index=True
            )
            for name, found in forecasts.items()
            if (found["horizon"] == horizon).any()
        }
        for horizon in horizons
    }
    judged = judge_horizons(parts, unit)
    return {name: Verdict.of(judged[int(nearest(found)["horizon"].iloc[0])][name]) for name, found in forecasts.items()}


def decide(
    name: str,
    forecasts: pd.DataFrame,
    verdict: Verdict,
    incumbent: Incumbent | None,
    *,
    unit: Unit,
    rules: Gate,
    interval: Mapping[str, Any] | None = None,
) -> Decision:
    """Ask every condition of section `online.gate`; without a champion those that need none.

    Args:
        name: the challenger's, for people.
        forecasts: its forecasts.parquet: validation and test.
        verdict: see `judge_candidates`.
        incumbent: the champion on the same bars; None if there is none that answers this question.
        unit: of forecasts and truths; losses are squared errors in it.
        interval: `interval` of its manifest: the half-widths served around its forecasts.

    Raises:
        ModelError: if a value isn't finite.
    """
    rows = nearest(forecasts)
    test = rows[rows["split"] == "test"]
    figures: dict[str, float | int | None] = {
        "skill": verdict.skill,
        "p_corrected": verdict.p_corrected,
        "tried": verdict.tried,
        "decisions_before": verdict.before,
        "test_rows": len(test),
    }
    conditions = [
        Condition(
            SKILL,
            verdict.verdict == "beats persistence",
            f"its verdict is '{verdict.verdict}' (skill {format_skill(verdict.skill)}, {format_p(verdict.p_corrected)}, "
            f"corrected for {verdict.tried} tried, {verdict.before} decisions before on these bars)",
        )
    ]
    if incumbent is not None:
        conditions += _compare(test, incumbent, rules, figures)
    conditions.append(_check_intervals(rows, unit, rules, interval, figures))
    failed = [c.said for c in conditions if not c.passed]
    promote = not failed
    beside = "" if incumbent is None else f" in place of {incumbent.name}"
    said = [c.said for c in conditions] if promote else failed
    reason = f"{name} is {'promoted' + beside if promote else 'not promoted'}: {'; '.join(said)}."
    return Decision(promote, tuple(conditions), figures, reason)


def _compare(
    test: pd.DataFrame, incumbent: Incumbent, rules: Gate, figures: dict[str, float | int | None]
) -> list[Condition]:
    unseen = test[test["origin"] > incumbent.seen]
    both = unseen.merge(incumbent.rows[["origin", "forecast"]], on="origin", suffixes=("", "_champion"))
    figures |= {"rows": len(both), "rows_needed": rules.rows}
    enough = len(both) >= rules.rows
    found = [
        Condition(
            ROWS,
            enough,
            f"{len(both)} bars are unseen by it and {incumbent.name}"
            + ("" if enough else f", {rules.rows} are needed (online.gate.rows)"),
        )
    ]
    if not enough:
        return found
    own = (both["truth"] - both["forecast"]) ** 2
    theirs = (both["truth"] - both["forecast_champion"]) ** 2
    p = diebold_mariano(own - theirs, int(both["horizon"].iloc[0])).p_better
    loss, champion_loss = float(own.mean()), float(theirs.mean())
    figures |= {"loss": loss, "champion_loss": champion_loss, "p_no_better": p}
    better = p < rules.level
    said = (
        f"its loss on bars unseen by both is {loss:.4g}, {incumbent.name}'s {champion_loss:.4g}, and Diebold & Mariano's test "
        f"{'calls' if better else 'does not call'} it better ({format_p(p)}, level {rules.level:g})"
    )
    return [*found, Condition(BETTER, better, said)]


def _check_intervals(
    rows: pd.DataFrame,
    unit: Unit,
    rules: Gate,
    interval: Mapping[str, Any] | None,
    figures: dict[str, float | int | None],
) -> Condition:
    if unit == "probability":
        return Condition(COVERAGE, passed=True, said="a probability has no interval")
    test = (rows["split"] == "test").to_numpy()
    level = _USUAL_LEVEL if interval is None else float(interval["level"])
    least = level - rules.slack
    shares = {
        kind: coverage(rows["truth"][test], lower[test], upper[test])
        for kind, (lower, upper) in _intervals(rows, level, interval).items()
    }
    figures |= {f"coverage_{kind}": share for kind, share in shares.items()} | {"coverage_needed": least}
    known = [share for share in shares.values() if share is not None]
    if len(known) < len(shares):
        return Condition(COVERAGE, passed=False, said="too few errors are known to give it intervals")
    lowest = min(known)
    passed = lowest >= least
    said = f"its intervals hold {100 * lowest:.1f} % of truths"
    return Condition(COVERAGE, passed, said if passed else f"{said}, at least {100 * least:.1f} % are needed")


def _intervals(
    rows: pd.DataFrame, level: float, interval: Mapping[str, Any] | None
) -> dict[str, tuple[pd.Series, pd.Series]]:
    """Every interval the challenger would serve, by kind; adaptive ones around its forecasts if it serves none."""
    found: dict[str, tuple[pd.Series, pd.Series]] = {}
    pair = next(
        (
            (low, high)
            for low in QUANTILES
            for high in QUANTILES
            if abs(high - low - level) + abs(high + low - 1) < _SAME
        ),
        None,
    )
    if pair is not None and all(quantile_column(one) in rows for one in pair):
        found["quantiles"] = (rows[quantile_column(pair[0])], rows[quantile_column(pair[1])])
    if interval is not None:
        half = float(interval["half_width"][0]) * (rows["last_close"] if interval["relative"] else 1.0)
        found["served"] = (rows["forecast"] - half, rows["forecast"] + half)
    if not found:
        conformal = conformal_intervals(rows, level=level)
        found["conformal"] = (conformal["lower"], conformal["upper"])
    return found
