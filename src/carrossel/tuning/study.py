"""An Optuna study on sqlite that survives kills and goes on where it was."""

from __future__ import annotations

import hashlib
import json
import warnings
from typing import TYPE_CHECKING

import optuna
import pytorch_lightning as pl
from optuna.storages import RDBStorage, RetryHeartbeatStaleTrialCallback
from optuna.trial import TrialState

from carrossel.errors import TrainingError
from carrossel.forecaster.module import mix
from carrossel.targets.base import make_target
from carrossel.training.fingerprint import fingerprint
from carrossel.training.fitting import fit
from carrossel.tuning.space import apply, check_space, draw
from carrossel.windows.tensor import window_series

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

    from carrossel.recorder import OpenRun, Recorder
    from carrossel.training.config import Recipe
    from carrossel.tuning.config import Tuning

# Each trial is a tracked run and prints its epochs; Optuna's own lines would say it twice.
optuna.logging.set_verbosity(optuna.logging.WARNING)
# Heartbeats have been marked experimental since Optuna 2.9; the version is pinned, so nobody needs to be told at every run.
warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning, message=".*(eartbeat|stale).*")

_FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
_HEARTBEAT_S = 2
_STALE_AFTER_S = 6


class Pruning(pl.Callback):
    """Reports each epoch's validation skill and stops a trial that the pruner gives up.

    The integration package's callback imports `lightning` and fails with pytorch_lightning, hence these few lines.
    """

    def __init__(self, trial: optuna.Trial) -> None:
        self.trial = trial
        self.pruned = False

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        del pl_module
        if trainer.is_global_zero:
            self.trial.report(float(trainer.callback_metrics["validation_skill"]), trainer.current_epoch)
            self.pruned = self.trial.should_prune()
        if self.pruned:
            trainer.should_stop = True


def open_study(database: Path, recipe: Recipe, config: Tuning, data_sha256: str) -> optuna.Study:
    """Create the study, or load it if this very study was begun before.

    Sampler and pruner are pinned: what Optuna takes as its default may change. A trial whose process died is noticed by its
    heartbeat and run again with the same parameters.
    """
    database.parent.mkdir(parents=True, exist_ok=True)
    study = config.model_dump(mode="json", exclude={"trials"})
    digest = hashlib.sha256(json.dumps([study, fingerprint(recipe, data_sha256)], sort_keys=True).encode())
    return optuna.create_study(
        study_name=f"{recipe.dataset}-{recipe.kind}-{digest.hexdigest()[:12]}",
        storage=RDBStorage(
            f"sqlite:///{database}",
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=_STALE_AFTER_S,
            heartbeat_stale_trial_callback=RetryHeartbeatStaleTrialCallback(),
        ),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=2, n_warmup_steps=config.prune_after),
        direction="maximize",
        load_if_exists=True,
    )


def run_study(
    study: optuna.Study, bars: pd.DataFrame, recipe: Recipe, config: Tuning, *, data_sha256: str, open_run: OpenRun
) -> Recipe:
    """Run trials until the study has as many as asked, and return the best one's recipe with the full number of epochs.

    The study is one tracked run, each trial a run below it. A trial sees training and validation windows; nothing of it is
    ever computed on the test part. Its value is the best epoch's validation skill, 1 − MSE / MSE of 'tomorrow = today'.

    Raises:
        ConfigError: if the space leads out of what a section allows.
        TrainingError: if no trial completes.
    """
    check_space(recipe, config)
    tags = {"cell": recipe.kind, "data_sha256": data_sha256}
    with open_run(
        recipe.dataset,
        f"study {recipe.kind}",
        key=study.study_name,
        tags=tags,
        resume_run_id=study.user_attrs.get("run_id"),
    ) as parent:
        study.set_user_attr("run_id", parent.run_id)

        def objective(trial: optuna.Trial) -> float:
            mine = draw(recipe, config, trial)
            with open_run(
                recipe.dataset,
                f"trial {trial.number}",
                key=f"{study.study_name}/{trial.number}",
                tags=tags,
                parent_run_id=parent.run_id,
            ) as recorder:
                recorder.params(trial.params)
                return _run_trial(trial, bars, mine, recorder)

        while _count(study, *_FINISHED) < config.trials and _count(study, TrialState.FAIL) < config.trials:
            study.sampler = _sampler(config, len(study.trials))
            study.optimize(objective, n_trials=1, catch=(TrainingError,))
        if not _count(study, TrialState.COMPLETE):
            raise TrainingError(
                f"tune@{recipe.dataset}: none of {len(study.trials)} trials completed. Narrow tuning.space (learning rates first)."
            )
        parent.params({f"best.{key}": value for key, value in study.best_params.items()})
        parent.metrics({"best_validation_skill": study.best_value, "trials": float(_count(study, *_FINISHED))})
    return apply(recipe, study.best_params)


def trials_table(study: optuna.Study) -> pd.DataFrame:
    """One row per finished trial: number, state, value (validation skill) and the drawn values."""
    table = study.trials_dataframe(attrs=("number", "state", "value", "params"))
    return table[table["state"].isin([state.name for state in _FINISHED])]


def _sampler(config: Tuning, trial: int) -> optuna.samplers.TPESampler:
    """A sampler for one trial, seeded by its number: a resumed study goes on where an undisturbed one would have been."""
    return optuna.samplers.TPESampler(
        n_startup_trials=config.startup_trials,
        n_ei_candidates=24,
        multivariate=True,
        constant_liar=True,
        seed=mix(config.seed, trial) % 2**32,
    )


def _run_trial(trial: optuna.Trial, bars: pd.DataFrame, recipe: Recipe, recorder: Recorder) -> float:
    data = window_series(bars, recipe.windows, make_target(recipe.target), recipe.dataset)
    pruning = Pruning(trial)
    name = f"tune@{recipe.dataset} trial {trial.number}"
    done = fit(data, recipe, recorder, name=name, callbacks=[pruning])
    if pruning.pruned:
        recorder.prune(f"after {len(done.history)} epochs, below the median of the trials before it")
    best = max(row["validation_skill"] for row in done.history)
    recorder.metrics({"best_validation_skill": best}, step=len(done.history))
    if pruning.pruned:
        raise optuna.TrialPruned
    return best


def _count(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))
