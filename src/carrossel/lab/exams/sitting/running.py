"""Run the sittings that are missing, keep what is finished, write the tables when all is there."""

from __future__ import annotations

import json
import math
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import pandas as pd
import torch
from distributed import as_completed

from carrossel.errors import TrainingError
from carrossel.files import replacing, write_json
from carrossel.lab.exams.sitting.taking import sit
from carrossel.training.fingerprint import digest_source
from carrossel.workers import open_client, result_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from carrossel.lab.exams.sitting.config import Workers
    from carrossel.lab.exams.sitting.plan import Plan, Sitting

COLUMNS = [
    "candidate", "cell", "exam", "length", "seed", "solved", "iterations", "score", "pass_mark", "chance", "parameters", "seconds",
]  # fmt: skip
CURVE_COLUMNS = ["candidate", "exam", "length", "seed", "iteration", "score"]
_ROOMS = ("cells", "lab/exams")


@cache
def source_digest() -> str:
    """Digest of the source that decides a sitting's result, as this process found it when first asked: edits come later."""
    return digest_source(_ROOMS)


@dataclass(frozen=True)
class Outcome:
    """A finished sitting as plain data.

    Args:
        columns: of the table, besides those that name the sitting.
        curve: training steps and score of every look.
    """

    columns: dict[str, Any]
    curve: list[tuple[int, float]]


def hold_exams(plan: Plan, *, scratch: Path, table: Path, curves: Path) -> None:
    """Let every candidate sit every exam; write one row per sitting to `table` and one per look to `curves`.

    Each finished sitting lies in `scratch` under a fingerprint of all that decides it, so killed exams go on with what is missing.

    Args:
        scratch: folder of finished sittings alone; when the tables are written, those that aren't in them go.
        table: CSV with `COLUMNS`.
        curves: CSV with `CURVE_COLUMNS`.

    Raises:
        TrainingError: if a sitting fails or the scheduler dies; what is finished is kept.
    """
    code = source_digest()
    parts = {sitting: scratch / f"{sitting.fingerprint(code)[:24]}.json" for sitting in plan.sittings}
    missing = [sitting for sitting, part in parts.items() if not part.exists()]
    kept = f", {len(parts) - len(missing)} of them finished before" if len(missing) < len(parts) else ""
    print(f"exams: {len(parts)} sittings{kept}", flush=True)
    done = len(parts) - len(missing)
    for sitting, outcome in run(missing, plan.where, scratch):
        write_json(parts[sitting], _as_json(outcome))
        done += 1
        print(f"exams: {done}/{len(parts)} {sitting}: {describe(outcome)}", flush=True)
    outcomes = {sitting: _read(part) for sitting, part in parts.items()}
    _write(pd.DataFrame([_row(*each) for each in outcomes.items()], columns=COLUMNS), table)
    looks = [look for each in outcomes.items() for look in _looks(*each)]
    _write(pd.DataFrame(looks, columns=CURVE_COLUMNS), curves)
    for part in set(scratch.glob("*.json")) - set(parts.values()):
        part.unlink()


def run(sittings: Sequence[Sitting], where: Workers, scratch: Path) -> Iterator[tuple[Sitting, Outcome]]:
    """Outcomes as they come, in whichever order; nothing is started where there is nothing to do.

    Args:
        scratch: a folder for the workers' own files.

    Raises:
        TrainingError: as `hold_exams`.
    """
    if not sittings:
        return
    code = source_digest()
    # Long ones first, so that no worker is left alone with one at the end.
    order = sorted(sittings, key=lambda sitting: -sitting.length * sitting.exam_config.iterations)
    with open_client(where.scheduler, where.workers, scratch / "workers", "lab") as client:
        futures = {client.submit(run_sitting, sitting, code, pure=False): sitting for sitting in order}
        for future in as_completed(futures):
            sitting = futures[future]
            yield sitting, result_of(future, sitting, "lab")
            future.release()


def run_sitting(sitting: Sitting, code: str) -> Outcome:
    """One sitting on one thread, as a task.

    Args:
        code: digest of the source that the driver runs.

    Raises:
        TrainingError: if this worker runs other code than the driver.
    """
    if source_digest() != code:
        raise TrainingError(
            f"{sitting}: this worker runs other code than the driver. Install the driver's version on every worker, or, if the "
            "code was edited meanwhile, run again."
        )
    torch.set_num_threads(1)
    started = time.process_time()
    result = sit(sitting)
    exam = sitting.open_exam()
    columns = {
        **{name: value for name, value in asdict(result).items() if name != "curve"},
        "pass_mark": exam.pass_mark,
        "chance": exam.chance,
        "seconds": round(time.process_time() - started, 2),
    }
    return Outcome(columns, list(result.curve))


def describe(outcome: Outcome) -> str:
    """How a sitting ended, in a few words."""
    columns = outcome.columns
    if math.isnan(columns["score"]):
        return f"diverged after {columns['iterations']:,}"
    score = f"score {columns['score']:.3g}, pass mark {columns['pass_mark']:.3g}, chance {columns['chance']:.3g}"
    return f"{'solved after' if columns['solved'] else 'not solved in'} {columns['iterations']:,} ({score})"


def _row(sitting: Sitting, outcome: Outcome) -> dict[str, Any]:
    return {**_name(sitting), "cell": sitting.cell, **outcome.columns}


def _looks(sitting: Sitting, outcome: Outcome) -> Iterator[dict[str, Any]]:
    for iteration, score in outcome.curve:
        yield {**_name(sitting), "iteration": iteration, "score": score}


def _name(sitting: Sitting) -> dict[str, Any]:
    return {name: getattr(sitting, name) for name in ("candidate", "exam", "length", "seed")}


def _as_json(outcome: Outcome) -> dict[str, Any]:
    """JSON knows no NaN."""
    columns = {**outcome.columns, "score": _or_none(outcome.columns["score"])}
    return {"columns": columns, "curve": [[iteration, _or_none(score)] for iteration, score in outcome.curve]}


def _or_none(score: float) -> float | None:
    return score if math.isfinite(score) else None


def _read(part: Path) -> Outcome:
    stored = json.loads(part.read_text(encoding="utf-8"))
    return Outcome(stored["columns"], [(iteration, score) for iteration, score in stored["curve"]])


def _write(frame: pd.DataFrame, path: Path) -> None:
    with replacing(path) as temporary:
        frame.to_csv(temporary, index=False, lineterminator="\n")
