"""A study's tracked run, and a run below it for each trial that ended."""

from __future__ import annotations

import math
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState

from carrossel.tuning.storage import lost_with_drivers

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from matplotlib.figure import Figure
    from optuna import Study
    from optuna.trial import FrozenTrial

    from carrossel.recorder import OpenRun, Recorder, Scalar
    from carrossel.tuning.trial import Outcome, Point

_NAMES = {"skill": "validation_skill", "latency": "latency_us", "parameters": "parameters"}
_CURVES = ("skill", "value", "train_loss", "validation_loss")
# What a study is asked; how far and where it runs may change from one driver to the next.
_ASKED = ("epochs", "folds", "sampler", "pruner", "seed", "startup_trials", "prune_after")


@contextmanager
def open_journal(
    study: Study, dataset: str, cell: str, tags: Mapping[str, str], open_run: OpenRun
) -> Iterator[Journal]:
    """The study's run, open while its driver works; a later driver goes on in it.

    Args:
        tags: of every run.
        open_run: asked once for the study and once for each trial.
    """
    with open_run(
        dataset, f"study {cell}", key=study.study_name, tags=tags, resume_run_id=study.user_attrs.get("run_id")
    ) as parent:
        if parent.run_id and parent.run_id != study.user_attrs.get("run_id"):
            study.set_user_attr("run_id", parent.run_id)
        config: dict[str, Any] = study.user_attrs.get("config", {})
        parent.params({name: config[name] for name in _ASKED if name in config})
        yield Journal(study, dataset, tags, open_run, parent)


class Journal:
    """Writes down how trials ended; see `open_journal`."""

    def __init__(
        self, study: Study, dataset: str, tags: Mapping[str, str], open_run: OpenRun, parent: Recorder
    ) -> None:
        self._study, self._dataset, self._tags = study, dataset, tags
        self._open_run, self._parent = open_run, parent
        self._objectives: list[str] = study.user_attrs.get("objectives", ["skill"])

    def record(self, trial: FrozenTrial, outcome: Outcome) -> None:
        """Make the run of a trial that ended: FINISHED if complete, KILLED if pruned, FAILED if it failed.

        To be called before the study is told. A driver that was killed in between leaves a run whose trial is repeated:
        the repetition goes on in that run, found by study and first number.
        """
        repeated: int | None = trial.system_attrs.get("failed_trial")  # as Optuna's retry callback notes it
        with self._open_run(
            self._dataset,
            f"trial {trial.number}",
            key=f"{self._study.study_name}/{trial.number if repeated is None else repeated}",
            tags=self._tags,
            parent_run_id=self._parent.run_id,
            resume_key=repeated is not None,
            started=trial.datetime_start.timestamp() if trial.datetime_start else None,
        ) as run:
            run.params(trial.params)
            run.curves(self._curves(outcome))
            if outcome.state == "pruned":
                run.prune(outcome.reason)
            elif outcome.state == "failed":
                run.fail(outcome.reason)
        if run.run_id:
            # People look the run up by it; nothing else hangs on it, so a database in trouble needn't end the study here.
            with suppress(StorageInternalError):
                self._study._storage.set_trial_user_attr(trial._trial_id, "run_id", run.run_id)  # noqa: SLF001 - a frozen trial can't be written otherwise

    def summarise(self, study: Study, figures: Mapping[str, Figure], folder: Path | None = None) -> None:
        """Write the study's best configuration, counts, figures and tables onto its run.

        Args:
            figures: by name, without suffix.
            folder: of the report; its files are logged, not its folders.
        """
        trials = study.get_trials(deepcopy=False)
        lost = lost_with_drivers(trials)  # these count for nothing
        complete, pruned, failed = (
            [trial for trial in trials if trial.state == state and trial.number not in lost]
            for state in (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)
        )
        counts = {"trials": len(complete) + len(pruned), "complete": len(complete), "pruned": len(pruned)}
        summary: dict[str, float] = {**counts, "failed": len(failed)}
        if complete:
            best = max(complete, key=lambda trial: (trial.values[0], -trial.number))
            summary |= {f"best_{name}": value for name, value in self._named(best.values).items()}
            # Not params: MLflow lets none be changed, and a study that is enlarged may find a better trial.
            told: dict[str, Scalar] = {"trial": best.number, **best.params}
            self._parent.tags({f"best.{name}": str(value) for name, value in told.items()})
        # At the number of trials, so that an enlarged study adds a point instead of meeting the old one.
        self._parent.metrics(_finite(summary), step=counts["trials"])
        for name, figure in figures.items():
            self._parent.figure(f"figures/{name}.png", figure)
        for file in sorted(folder.iterdir()) if folder else ():
            if file.is_file() and not file.name.startswith("."):
                self._parent.artifact(file, "results")

    def _curves(self, outcome: Outcome) -> dict[int, dict[str, float]]:
        """Every epoch's figures by step, the trial's own with the last."""
        points = {step: _finite({name: getattr(point, name) for name in _CURVES}) for step, point in _number(outcome)}
        summary = {"seconds": outcome.seconds, "parameters": float(outcome.parameters), **self._named(outcome.values)}
        if outcome.state == "pruned" and outcome.curve:
            summary["validation_skill"] = outcome.curve[-1].value
        last = max(points, default=0)
        return {**points, last: {**points.get(last, {}), **_finite(summary)}}

    def _named(self, values: tuple[float, ...] | list[float]) -> dict[str, float]:
        return {_NAMES[objective]: value for objective, value in zip(self._objectives, values, strict=False)}


def _number(outcome: Outcome) -> list[tuple[int, Point]]:
    """Points by step; one after the other where a step is a whole fold."""
    steps = [point.step for point in outcome.curve]
    if len(set(steps)) < len(steps):
        return list(enumerate(outcome.curve))
    return list(zip(steps, outcome.curve, strict=True))


def _finite(values: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in values.items() if math.isfinite(value)}
