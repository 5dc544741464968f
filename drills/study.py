"""kill -9 at random moments of `carrossel study run`: the study ends as if nobody had touched it.

Two projects in temporary folders ask the same grid of as many points as trials. One is left alone and prunes nothing, so that
every point's skill is known. In the other the driver, the driver with its workers, or one worker is killed again and again, until
so many kills were made or it ended before. Half of the kills fall at any moment, the start of a driver included, which takes longer
than many trials; the other half soon after a driver has told some. What must hold is told by `inspect`: each point of the grid
complete or pruned once, each trial with one run of the right state in MLflow, every number that of the study left alone, no process
left behind.

Pruning depends on who finished first. For the best value not to, the best trial must lead from the first epoch in which the
pruner may act: the drill looks whether it does before it says anything about it.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter, defaultdict
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import yaml

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlflow.entities import Run
    from optuna import Study
    from optuna.trial import FrozenTrial

ROOT = Path(__file__).resolve().parents[1]
DATASET = "drill"
SIZES, EPOCHS, PRUNE_AFTER = (1, 2, 3, 4, 6, 8), 3, 2
CHANGES: dict[str, Any] = {
    "datasets": {
        DATASET: {
            "source": {"kind": "sample", "name": "google"},
            "calendar": "XNYS",
            "interval": "1d",
            "target": {"kind": "volatility"},
        }
    },
    "windows": {"lookback": 8, "features": ["log_variance", "log_range"]},
    "cells": {"gru": {"hidden_size": 4}},
    "baselines": {"drift": {}},
    "training": {"epochs": EPOCHS, "learning_rate": 0.02, "accelerator": "cpu"},
}
COMMAND = (sys.executable, "-m", "carrossel", "study", "run", DATASET)
VICTIMS = ("a worker", "the driver", "the driver and its workers")
LONGEST_SECONDS = 1800
DYING_SECONDS = 30
AT_WORK = 0.5  # of the kills


def make_project(folder: Path, trials: int, **tuning: object) -> None:
    """The pipeline with one small question and a grid of as many points as trials; bars are prepared."""
    for name in ("pipeline", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    steps = trials // len(SIZES)
    rates = [round(0.0005 * 100 ** (step / max(steps - 1, 1)), 6) for step in range(steps)]
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | CHANGES
    params["tuning"] = {
        "cell": "gru",
        "trials": trials,
        "epochs": EPOCHS,
        "sampler": "grid",
        "prune_after": PRUNE_AFTER,
        "space": {
            "cell.hidden_size": {"kind": "categorical", "choices": list(SIZES)},
            "training.learning_rate": {"kind": "categorical", "choices": rates},
        },
        **tuning,
    }
    params["walk_forward"] = {**params["walk_forward"], "models": ["gru"]}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    for stage in ("download", "prepare"):
        subprocess.run(
            [sys.executable, f"pipeline/{stage}.py", DATASET],
            cwd=folder,
            check=True,
            env=environment(folder, None),
            stdout=subprocess.DEVNULL,
        )


def environment(root: Path, storage: str | None) -> dict[str, str]:
    """No server and no database but the project's own, and the one asked for."""
    outside = {"MLFLOW_TRACKING_URI", "CARROSSEL_STORE", "CARROSSEL_STUDIES", "CARROSSEL_TRACKING_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in outside}
    # The copied source: one that is edited meanwhile would make another study of it.
    kept |= {"CARROSSEL_ROOT": str(root), "PYTHONPATH": str(root / "src"), "PYTHONUNBUFFERED": "1"}
    return kept | ({"CARROSSEL_STUDIES": storage} if storage else {})


def start(root: Path, storage: str | None) -> subprocess.Popen[bytes]:
    """A driver in a session of its own, so that a kill may take its workers along."""
    with (root / "output.txt").open("ab") as output:
        return subprocess.Popen(
            COMMAND,
            cwd=root,
            env=environment(root, storage),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def run_undisturbed(root: Path, storage: str | None) -> float:
    """Run to the end; seconds it took."""
    began = time.monotonic()
    if status := start(root, storage).wait(LONGEST_SECONDS):
        raise SystemExit(f"the undisturbed study ended with {status}:\n{tail(root)}")
    return time.monotonic() - began


def tail(root: Path) -> str:
    return (root / "output.txt").read_text(encoding="utf-8", errors="replace")[-3000:]


@dataclass
class Disturbed:
    """What was done to a study, and what went wrong meanwhile."""

    kills: Counter[str] = field(default_factory=Counter)
    drivers: int = 0
    faults: list[str] = field(default_factory=list)


def disturb(
    root: Path, options: argparse.Namespace, draw: random.Random, usual: float, strangers: psutil.Process | None
) -> Disturbed:
    """Kill and run again until the study has ended; so many are killed, or fewer if it ends before.

    Args:
        usual: seconds of the study left alone.
        strangers: whose children are the workers, where the driver's aren't: a cluster.
    """
    done = Disturbed()
    # Slow enough for trials to end between two kills, fast enough for the study not to be done before the last.
    pace, ahead = 1.5 * usual / options.kills, max(options.trials // (options.kills + 1), 1)
    while True:
        driver = start(root, options.storage)
        done.drivers += 1
        while driver.poll() is None and done.kills.total() < options.kills:
            if draw.random() < AT_WORK:
                await_told(driver, root, options.storage, draw.randint(1, ahead))
                wait = draw.uniform(0, 2 * usual / options.trials)
            else:
                wait = draw.uniform(0, 2 * pace)
            with suppress(subprocess.TimeoutExpired):
                driver.wait(wait)
                break
            if victim := strike(driver, draw.choice(VICTIMS), draw, strangers):
                done.kills[victim] += 1
                states = count_states(root, options.storage) or {}
                told = ", ".join(f"{count} {state.lower()}" for state, count in states.items())
                print(f"kill {done.kills.total():>3}/{options.kills}  {victim:27}{told}", flush=True)
        status = driver.wait(LONGEST_SECONDS)
        if status == 0:
            return done
        if status != -signal.SIGKILL:
            done.faults.append(f"a driver that nobody killed ended with {status}: {tail(root)[-300:]}")
            if len(done.faults) > options.kills:
                return done


def await_told(driver: subprocess.Popen[bytes], root: Path, storage: str | None, trials: int) -> None:
    """Wait until so many more trials are complete or pruned, or the driver is gone; one that is stuck is killed as any other."""
    before, deadline = None, time.monotonic() + LONGEST_SECONDS
    while driver.poll() is None and time.monotonic() < deadline:
        states = count_states(root, storage)
        if states is not None:
            told = states["COMPLETE"] + states["PRUNED"]
            before = told if before is None else before
            if told >= before + trials:
                return
        time.sleep(0.05)


def strike(
    driver: subprocess.Popen[bytes], victim: str, draw: random.Random, strangers: psutil.Process | None
) -> str | None:
    """Kill; who it was, or None where there is no such process (yet)."""
    with suppress(ProcessLookupError, psutil.NoSuchProcess):
        if victim == "the driver":
            driver.kill()
        elif victim == "the driver and its workers":
            os.killpg(driver.pid, signal.SIGKILL)
        else:
            workers = find_workers(strangers or psutil.Process(driver.pid))
            if not workers:
                return None
            draw.choice(workers).kill()
        if victim != "a worker":
            driver.wait()
        return victim
    return None


def find_workers(parent: psutil.Process) -> list[psutil.Process]:
    """Processes that multiprocessing started, but not its bookkeeper."""
    found = []
    for child in parent.children(recursive=True):
        with suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            if any("spawn_main" in part for part in child.cmdline()):
                found.append(child)
    return sorted(found, key=lambda process: process.pid)


@contextmanager
def cluster(folder: Path, workers: int) -> Iterator[tuple[str, psutil.Process]]:
    """A Dask scheduler and workers as processes of their own: its address, and the process whose children the workers are."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    dask = (sys.executable, "-m", "dask")
    local = ("--host", "127.0.0.1", "--no-dashboard")
    each = ("--nthreads", "1", "--local-directory", str(folder))
    commands = (
        (*dask, "scheduler", *local, "--port", str(port)),
        (*dask, "worker", address, *local, *each, "--nworkers", str(workers)),
    )
    with (folder / "cluster.txt").open("ab") as output:
        env = environment(folder / "disturbed", None)
        processes = [
            subprocess.Popen(command, cwd=folder, env=env, stdout=output, stderr=subprocess.STDOUT)
            for command in commands
        ]
    nannies = psutil.Process(processes[1].pid)
    try:
        deadline = time.monotonic() + DYING_SECONDS * 2
        while len(find_workers(nannies)) < workers and time.monotonic() < deadline:
            time.sleep(0.5)
        yield address, nannies
    finally:
        for child in find_workers(nannies):
            with suppress(psutil.NoSuchProcess):
                child.kill()
        for process in processes:
            process.kill()
            process.wait()


def url(root: Path, storage: str | None) -> str:
    return storage or f"sqlite:///{root / '.carrossel' / 'studies.db'}"


def count_states(root: Path, storage: str | None) -> Counter[str] | None:
    """Trials by state, asked of the database itself; None if it can't say, such as before there is one."""
    import sqlalchemy

    # Read only: a file that isn't there yet mustn't come into being by being asked.
    address = storage or f"sqlite:///file:{root / '.carrossel' / 'studies.db'}?mode=ro&uri=true"
    engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.NullPool)
    with suppress(sqlalchemy.exc.SQLAlchemyError), engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT state, count(*) FROM trials GROUP BY state ORDER BY state"))
        return Counter({str(state): count for state, count in rows.all()})
    return None


def load(root: Path, storage: str | None) -> Study:
    """The one study there is."""
    import optuna

    names = optuna.get_all_study_names(url(root, storage))
    if len(names) != 1:
        raise SystemExit(f"{len(names)} studies are stored where one should be: {', '.join(names)}")
    return optuna.load_study(study_name=names[0], storage=url(root, storage))


def by_point(study: Study) -> dict[tuple[object, ...], list[FrozenTrial]]:
    """Complete and pruned trials by what they drew."""
    from optuna.trial import TrialState

    found: dict[tuple[object, ...], list[FrozenTrial]] = defaultdict(list)
    for trial in study.get_trials(states=(TrialState.COMPLETE, TrialState.PRUNED)):
        found[tuple(sorted(trial.params.items()))].append(trial)
    return dict(found)


def leads(study: Study) -> bool:
    """Whether the best trial is ahead of every other from the first epoch in which a pruner may act."""
    best = study.best_trial
    others = [trial for trial in study.trials if trial.number != best.number]
    return all(
        value > max(other.intermediate_values.get(step, float("-inf")) for other in others)
        for step, value in best.intermediate_values.items()
        if step >= PRUNE_AFTER
    )


def inspect(study: Study, alone: Study, runs: list[Run], trials: int) -> list[tuple[str, str, bool]]:
    """What must hold: the claim, what was found, whether it holds."""
    from optuna.trial import TrialState

    points, expected = by_point(study), {point: each[0] for point, each in by_point(alone).items()}
    finished = [trial for each in points.values() for trial in each]
    states = Counter(trial.state.name.lower() for trial in study.trials)
    told = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
    differ = [trial for point, each in points.items() for trial in each if not agrees(trial, expected.get(point))]
    claims = [
        (f"{trials} trials are complete or pruned", told, len(finished) == trials),
        (
            "each point of the grid once",
            f"{len(points)} points, {len(finished) - len(points)} twice",
            len(points) == trials == len(finished),
        ),
        (
            "no trial runs or waits any more",
            told,
            not states[TrialState.RUNNING.name.lower()] + states[TrialState.WAITING.name.lower()],
        ),
        (
            "no trial failed by itself",
            "; ".join(failed_reasons(study)) or "none",
            not failed_reasons(study),
        ),
        ("epoch by epoch the skills of the study left alone", f"{len(differ)} differ", not differ),
    ]
    if leads(alone):
        claims.append(
            (
                "the best value of the study left alone",
                f"{study.best_value!r} and {alone.best_value!r}",
                study.best_value == alone.best_value and study.best_params == alone.best_params,
            )
        )
    else:
        claims.append(("the best trial leads from the first epoch that prunes", "it doesn't", False))
    return [*claims, *inspect_runs(finished, runs)]


def failed_reasons(study: Study) -> list[str]:
    from carrossel.tuning.storage import failed_by_itself

    return [str(trial.user_attrs["reason"]) for trial in study.trials if failed_by_itself(trial)]


def agrees(trial: FrozenTrial, expected: FrozenTrial | None) -> bool:
    """Whether a trial reported what the undisturbed one did, as far as it came, and ended with its value unless it was pruned."""
    from optuna.trial import TrialState

    if expected is None:
        return False
    seen = trial.intermediate_values
    same = all(expected.intermediate_values.get(step) == value for step, value in seen.items())
    return same and (trial.state == TrialState.PRUNED or (trial.value == expected.value and len(seen) == EPOCHS))


def inspect_runs(finished: list[FrozenTrial], runs: list[Run]) -> list[tuple[str, str, bool]]:
    """One run for each trial, in its state; one above them."""
    wanted = {"COMPLETE": "FINISHED", "PRUNED": "KILLED"}
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    nested = {run.info.run_id: run for run in runs if "mlflow.parentRunId" in run.data.tags}
    mine = Counter(trial.user_attrs.get("run_id") for trial in finished)
    wrong = [
        f"trial {trial.number} is {trial.state.name}, its run {nested[run_id].info.status}"
        for trial in finished
        if (run_id := trial.user_attrs.get("run_id")) in nested
        and nested[run_id].info.status != wanted[trial.state.name]
    ]
    lacking = sum(trial.user_attrs.get("run_id") not in nested for trial in finished)
    strangers = {run.data.tags["mlflow.parentRunId"] for run in nested.values()} - {run.info.run_id for run in parents}
    one_each = not lacking and len(nested) == len(finished) == len(mine)
    return [
        ("one run for each trial", f"{len(nested)} runs, {lacking} trials without", one_each),
        ("each run in its trial's state", "; ".join(wrong[:3]) or "yes", not wrong),
        (
            "one run above them, finished",
            ", ".join(run.info.status for run in parents),
            [run.info.status for run in parents] == ["FINISHED"] and not strangers,
        ),
        (
            "no number was logged twice",
            f"{sum(map(count_repeated, nested))} were",
            not any(map(count_repeated, nested)),
        ),
    ]


def count_repeated(run_id: str) -> int:
    """Metrics of a run that have a step twice."""
    from mlflow import MlflowClient

    client = MlflowClient()
    histories = (client.get_metric_history(run_id, name) for name in client.get_run(run_id).data.metrics)
    return sum(len({metric.step for metric in history}) < len(history) for history in histories)


def find_runs(root: Path) -> list[Run]:
    """Every run of the project's question."""
    from carrossel.tracking.store import prepare_environment

    prepare_environment()
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{root / 'mlflow.db'}")
    client = mlflow.MlflowClient()
    experiment = client.get_experiment_by_name(DATASET)
    return list(client.search_runs([experiment.experiment_id], max_results=5000)) if experiment else []


def find_left_behind(root: Path) -> list[int]:
    """Processes of this project that still live, after a while to die in."""
    deadline = time.monotonic() + DYING_SECONDS
    while True:
        found = []
        for process in psutil.process_iter():
            with suppress(psutil.Error):
                if process.environ().get("CARROSSEL_ROOT") == str(root) and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process.pid)
        if not found or time.monotonic() > deadline:
            return found
        time.sleep(0.5)


def drill(options: argparse.Namespace, folder: Path) -> list[tuple[str, str, bool]]:
    """Both studies; every claim, what was found, whether it holds."""
    draw = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    alone, root = folder / "alone", folder / "disturbed"
    make_project(alone, options.trials, workers=2, pruner="none")
    usual = run_undisturbed(alone, None)
    print(f"left alone: {options.trials} trials in {usual:.1f} s", flush=True)
    make_project(root, options.trials, workers=2, pruner="median")
    if options.cluster:
        with cluster(folder, options.cluster) as (address, nannies):
            make_scheduled(root, address)
            done = disturb(root, options, draw, usual, nannies)
    else:
        done = disturb(root, options, draw, usual, None)
    left = find_left_behind(root)
    print(", ".join(f"{who}: {count}" for who, count in sorted(done.kills.items())) or "nobody was killed", flush=True)
    if done.kills.total() < options.kills:
        print(f"the study ended after {done.kills.total()} of {options.kills} kills", flush=True)
    before = len(load(root, options.storage).trials)
    run_undisturbed(root, options.storage)
    study = load(root, options.storage)
    after = len(study.trials)
    return [
        *inspect(study, load(alone, None), find_runs(root), options.trials),
        ("a driver that nobody killed ends well", "; ".join(done.faults) or f"{done.drivers} drivers", not done.faults),
        ("once more is nothing to do", f"{before} and {after} trials", before == after),
        ("no process is left behind", f"{len(left)} are", not left),
    ]


def make_scheduled(root: Path, address: str) -> None:
    """Let the study's workers be a cluster's."""
    path = root / "params.yaml"
    params = yaml.safe_load(path.read_text(encoding="utf-8"))
    params["tuning"]["scheduler"] = address
    path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="12 trials, 3 kills")
    parser.add_argument("--trials", type=int, default=60, help=f"a multiple of {len(SIZES)}")
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=1, help="of moments and victims")
    parser.add_argument("--storage", help="URL of an empty PostgreSQL database; sqlite if not given")
    parser.add_argument(
        "--cluster", type=int, default=0, help="workers of a Dask cluster to run on, instead of the driver's own"
    )
    parser.add_argument("--keep", type=Path, help="make the projects here and leave them there")
    options = parser.parse_args()
    if options.quick:
        options.trials, options.kills = 12, 3
    if options.trials < 2 * len(SIZES) or options.trials % len(SIZES):
        parser.error(f"--trials {options.trials}: expected a multiple of {len(SIZES)} from {2 * len(SIZES)} on")
    with tempfile.TemporaryDirectory(prefix="carrossel-drill-", ignore_cleanup_errors=True) as temporary:
        folder = options.keep or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        claims = drill(options, folder)
    width = max(len(claim) for claim, _, _ in claims)
    for claim, found, holds in claims:
        print(f"{claim:{width}}  {'holds' if holds else 'FAILS'}  {found}")
    faults = sum(not holds for _, _, holds in claims)
    print(f"study: {faults} of {len(claims)} claims fail (0)")
    return int(faults > 0)


if __name__ == "__main__":
    sys.exit(main())
