"""`carrossel study`: run a study, look at it, take its answer."""

from __future__ import annotations

import json
import os
import shlex
from contextlib import contextmanager, suppress
from pathlib import Path  # noqa: TC003 - typer reads annotations at run time
from typing import TYPE_CHECKING, Annotated

import typer

from carrossel.cli.errors import one_line_errors
from carrossel.config import load_params, lookup, project_root
from carrossel.errors import BarsError, Busy, StudyError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import optuna
    from optuna.storages import RDBStorage

    from carrossel.tuning.overview import Doing
    from carrossel.tuning.report.findings import Findings
    from carrossel.tuning.study import Plan

app = typer.Typer(no_args_is_help=True, help="Run a study of a configuration, watch it, take its answer.")

_Dataset = Annotated[str, typer.Argument(help="Name in params.yaml.")]
_Storage = Annotated[
    str | None,
    typer.Option(
        envvar="CARROSSEL_STUDIES",
        help="SQLAlchemy URL, in place of tuning.storage. `ps` shows it to others: pass a password by the variable.",
    ),
]
_Name = Annotated[
    str | None,
    typer.Option("--study", help="One by its name in `study status`; if not given, that of params.yaml as it is."),
]


@app.command()
def run(
    dataset: _Dataset,
    trials: Annotated[int | None, typer.Option(min=1, help="In place of tuning.trials.")] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes on this machine, in place of tuning.workers.")
    ] = None,
    scheduler: Annotated[
        str | None, typer.Option(help="Address of a Dask scheduler, in place of tuning.scheduler.")
    ] = None,
    storage: _Storage = None,
) -> None:
    """Run a dataset's study until it has its trials, then write its report; what was run before stays.

    Stop it with Ctrl-C, or kill it: nothing is lost, the same command goes on. Ends with 130 when stopped.
    """
    from carrossel.bars.store import read_bars
    from carrossel.tracking.session import Session
    from carrossel.tuning.progress import make_progress, percent
    from carrossel.tuning.publishing import known_verdict, publish
    from carrossel.tuning.report.writing import write_report
    from carrossel.tuning.study import best_trial, find_study, run_study

    root, open_run = project_root(), Session()
    with one_line_errors():
        plan = _plan(dataset, storage, trials=trials, workers=workers, scheduler=scheduler)
        bars = read_bars(_bars(root, dataset))
        folder = root / "reports" / "studies" / dataset
        with _alone(root, dataset):
            typer.echo(f"{plan.label}: study {plan.name}; Ctrl-C stops it and loses nothing.", err=True)
            try:
                with make_progress() as progress:
                    study = run_study(plan, bars, root, open_run=open_run, progress=progress)
            except KeyboardInterrupt:
                typer.echo(
                    f"{plan.label}: stopped; nothing is lost. Go on with the same command: carrossel study run {dataset}",
                    err=True,
                )
                with suppress(StudyError):  # nothing was begun
                    study = find_study(plan, root)
                    write_report(study, folder, known_verdict(study, folder))
                raise typer.Exit(130) from None
            publish(study, folder, known_verdict(study, folder), open_run)
        best = best_trial(study)
        typer.echo(f"{plan.label}: best is trial {best.number}, skill {percent(best.values[0])} on validation.")
        typer.echo(f"Report: {folder / 'study.html'}")
        typer.echo(f"Train it in full and judge it on the test part: dvc repro tune@{dataset}")


@app.command()
def status(
    dataset: Annotated[str | None, typer.Argument(help="Name in params.yaml; every one if not given.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    storage: _Storage = None,
) -> None:
    """Say which studies there are, how far each is, and whether a driver is at work."""
    from carrossel.tuning.overview import survey

    with one_line_errors():
        if dataset is not None:
            lookup(f"datasets.{dataset}", load_params())
        studies = [study for study in survey(_storage(storage)) if dataset in {None, study.dataset}]
    for study in studies:
        typer.echo(json.dumps(study.as_dict(), sort_keys=True) if as_json else _sentences(study))
    if not studies and not as_json:
        typer.echo(f"No study yet. Begin one: carrossel study run {dataset or 'DATASET'}")


@app.command()
def best(dataset: _Dataset, name: _Name = None, storage: _Storage = None) -> None:
    """Say what the best trial drew, beside the default; of several objectives the Pareto front, too."""
    from carrossel.tuning.progress import percent
    from carrossel.tuning.report.findings import find
    from carrossel.tuning.report.tables import compare_with_default, format_value
    from carrossel.tuning.study import best_trial

    with one_line_errors():
        study = _find(dataset, name, storage)
        trial, found = best_trial(study), find(study)
        typer.echo(
            f"{study.study_name}: best of {len(found.complete)} complete trials is trial {trial.number}, "
            f"skill {percent(trial.values[0])} on validation.\n"
        )
        _table(
            ["", "default", "best"], [[row["key"], row["default"], row["best"]] for row in compare_with_default(found)]
        )
        if len(found.objectives) > 1:
            typer.echo("\nPareto front: no trial is better in one without being worse in another.\n")
            keys = list(found.distributions)
            rows = [
                [str(one.number), percent(one.values[0]), *(f"{value:,.4g}" for value in one.values[1:])]
                + [format_value(one.params.get(key)) for key in keys]
                for one in found.front
            ]
            _table(["trial", *found.objectives, *(key.rpartition(".")[2] for key in keys)], rows)
        typer.echo(f"\nTrain with it: {_experiment(dataset, found)}")


@app.command()
def report(
    dataset: _Dataset,
    out: Annotated[Path | None, typer.Option(help="Folder; reports/studies/DATASET if not given.")] = None,
    name: _Name = None,
    storage: _Storage = None,
) -> None:
    """Write a study's tables, figures and page anew, from what its storage holds."""
    from carrossel.tuning.publishing import known_verdict
    from carrossel.tuning.report.writing import write_report

    with one_line_errors():
        usual = project_root() / "reports" / "studies" / dataset
        folder, study = out or usual, _find(dataset, name, storage)
        write_report(study, folder, known_verdict(study, usual))
        typer.echo(f"Report: {folder / 'study.html'}")


@app.command()
def export(
    dataset: _Dataset,
    out: Annotated[Path | None, typer.Option(help="A .yaml or .csv file; YAML on stdout if not given.")] = None,
    name: _Name = None,
    storage: _Storage = None,
) -> None:
    """Write the best configuration as a piece of params.yaml, or every trial as a row of a CSV file."""
    from carrossel.files import replacing, write_text
    from carrossel.tuning.patch import as_patch
    from carrossel.tuning.progress import percent
    from carrossel.tuning.report.findings import find
    from carrossel.tuning.report.tables import tabulate_trials
    from carrossel.tuning.study import best_trial

    with one_line_errors():
        if out is not None and out.suffix not in {".yaml", ".yml", ".csv"}:
            raise StudyError(f"--out {out}: expected a name that ends in .yaml or .csv.")
        study = _find(dataset, name, storage)
        if out is not None and out.suffix == ".csv":
            with replacing(out) as temporary:
                tabulate_trials(find(study)).to_csv(temporary, index=False)
            return
        trial = best_trial(study)
        about = [f"Trial {trial.number} of study {study.study_name}: skill {percent(trial.values[0])} on validation."]
        patch = as_patch(trial.params, study.user_attrs["cell"], dataset, load_params(), about)
        if out is None:
            typer.echo(patch, nl=False)
        else:
            write_text(out, patch)


def _plan(dataset: str, storage: str | None, **changes: int | str | None) -> Plan:
    from carrossel.files import sha256
    from carrossel.tuning.study import read_plan

    _choose(storage)
    params = load_params()
    lookup(f"datasets.{dataset}", params)
    given = {name: value for name, value in changes.items() if value is not None}
    if "workers" in given:  # here, not on the cluster that params.yaml may name
        params["tuning"] = {**lookup("tuning", params), "scheduler": None}
    params["tuning"] = {**lookup("tuning", params), **given}
    return read_plan(dataset, params, sha256(_bars(project_root(), dataset)))


def _bars(root: Path, dataset: str) -> Path:
    path = root / "data" / "bars" / f"{dataset}.parquet"
    if not path.is_file():
        raise BarsError(f"{path} doesn't exist. Run: dvc repro prepare@{dataset}")
    return path


def _find(dataset: str, name: str | None, storage: str | None) -> optuna.Study:
    from carrossel.tuning.overview import load_study
    from carrossel.tuning.study import find_study

    if name is None:
        return find_study(_plan(dataset, storage), project_root())
    lookup(f"datasets.{dataset}", load_params())
    return load_study(_storage(storage), name)


def _storage(storage: str | None) -> RDBStorage:
    from carrossel.tuning.storage import open_storage

    _choose(storage)
    return open_storage(lookup("tuning", load_params()).get("storage"), project_root())


def _choose(storage: str | None) -> None:
    if storage is not None:
        os.environ["CARROSSEL_STUDIES"] = storage


@contextmanager
def _alone(root: Path, dataset: str) -> Iterator[None]:
    """Keep out the stage tune@D and other drivers on this machine: two would draw on one sqlite file and one report."""
    from filelock import FileLock, Timeout

    lock = root / ".carrossel" / "locks" / f"tune@{dataset}.lock"  # the stage's own
    lock.parent.mkdir(parents=True, exist_ok=True)
    try:
        held = FileLock(lock).acquire(blocking=False)
    except Timeout:
        raise Busy(
            f"another process runs the study of {dataset}: the stage tune@{dataset} or `carrossel study run` (lock {lock}). "
            f"Watch it: carrossel study status {dataset}"
        ) from None
    with held:
        yield


def _sentences(study: Doing) -> str:
    from carrossel.tuning.progress import percent

    ended = study.complete + study.pruned
    if study.alive:
        state = "a driver is at work"
    elif study.asked is not None and ended >= study.asked:
        state = "finished"
    else:
        state = "no driver is at work"
    of = f" of {study.asked}" if study.asked is not None else ""
    reached = (
        f"best {percent(study.best)} of trial {study.best_trial}" if study.best is not None else "nothing complete yet"
    )
    last = f"; last activity {study.last:%Y-%m-%d %H:%M:%S}" if study.last else ""
    about = f" ({study.dataset}, {study.cell})" if study.dataset else ""
    repeated = f", {study.repeated} repeated" if study.repeated else ""
    return (
        f"{study.name}{about}: {state}\n"
        f"  {ended}{of} trials: {study.complete} complete, {study.pruned} pruned; {study.failed} failed{repeated}, "
        f"{study.running} running, {study.waiting} waiting\n  {reached}{last}"
    )


def _experiment(dataset: str, found: Findings) -> str:
    from carrossel.tuning.patch import as_set_arguments

    drawn = found.best.params if found.best else {}
    cell = str(found.about["cell"])
    settings = as_set_arguments(drawn, cell, dataset, load_params())
    return shlex.join(["dvc", "exp", "run", f"train@{dataset}-{drawn.get('cell.kind', cell)}", *settings])


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in [header, *rows]:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        typer.echo("  ".join(cells).rstrip())
