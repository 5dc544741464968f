"""Memory beside exams and skill: does the cell that remembers longest also forecast best?"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from scipy.stats import spearmanr

if TYPE_CHECKING:
    import pandas as pd

    from carrossel.lab.page.reading import Findings

_FEWEST = 5  # networks: fewer have no rank correlation worth a sentence


@dataclass(frozen=True)
class Row:
    """One network on the page's last table.

    Attributes:
        name: the competitor's.
        memory: bars whose error is still more than a thousandth of lag 0.
        half_life: bars in which the fitted error halves; None where it doesn't fade.
        per_bar: what the fitted error is multiplied by per bar, its own α; None if there was nothing to fit.
        passed: exams its cell passed, of `taken`; see `pass_exams`.
        validation: skill against persistence.
        test: the same on the test part.
        verdict: of the test part.
    """

    name: str
    memory: int
    half_life: float | None
    per_bar: float | None
    passed: int
    taken: int
    validation: float | None
    test: float | None
    verdict: str


class Relation(NamedTuple):
    """Spearman's rank correlation of memory and skill on test, over networks."""

    rho: float
    p: float
    networks: int


def compare(findings: Findings, passes: pd.DataFrame) -> list[Row]:
    """One row per network, longest memory first.

    Args:
        findings: of one dataset.
        passes: from `pass_exams`.
    """
    rows = []
    for network in findings.networks:
        fade = network.fading
        passed, taken = _find_candidate(passes, network.kind)
        rows.append(
            Row(
                name=network.name,
                memory=fade.memory,
                half_life=fade.half_life,
                per_bar=None if fade.slope is None else math.exp(fade.slope),
                passed=passed,
                taken=taken,
                validation=_skill(findings, "validation", network.name),
                test=_skill(findings, "test", network.name),
                verdict=str(findings.evaluation["judgements"].get(network.name, {}).get("verdict", "")),
            )
        )
    return rows


def pass_exams(exams: pd.DataFrame) -> pd.DataFrame:
    """Which exams each candidate passed.

    Args:
        exams: one row per candidate, exam, length and seed.

    Returns:
        Columns `candidate`, `cell`, `exam`, `length` and `passed`: whether more than half of the seeds solved it.
    """
    keys = ["candidate", "cell", "exam", "length"]
    passed = exams.assign(passed=exams["solved"].astype(float)).groupby(keys, sort=False)["passed"].mean() > 0.5  # noqa: PLR2004 - half
    return passed.reset_index()


def relate(rows: list[Row]) -> Relation | None:
    """Whether those that remember longer forecast better; None where there is too little to say so.

    Args:
        rows: longest memory first.
    """
    known = [(-place, row.test) for place, row in enumerate(rows) if row.test is not None]
    if len(known) < _FEWEST or len({skill for _, skill in known}) == 1:
        return None
    found = spearmanr(*zip(*known, strict=True))
    return Relation(float(found.statistic), float(found.pvalue), len(known))


def _find_candidate(passes: pd.DataFrame, kind: str) -> tuple[int, int]:
    """Exams passed and taken by the candidate of that name, or else by the first one with that cell."""
    own = passes[passes["cell"] == kind]
    if own.empty:
        return 0, 0
    name = kind if (own["candidate"] == kind).any() else own["candidate"].iloc[0]
    taken = own[own["candidate"] == name]
    return int(taken["passed"].sum()), len(taken)


def _skill(findings: Findings, part: str, name: str) -> float | None:
    found = findings.evaluation["rows"].get(part, {}).get(name, {}).get("skill")
    return None if found is None else float(found)
