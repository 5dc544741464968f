"""`carrossel`: what is not a stage of the pipeline. Thin: each command calls one room."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import carrossel
from carrossel.cli.errors import one_line_errors
from carrossel.cli.study import app as study_app
from carrossel.config import load_params, lookup, project_root

if TYPE_CHECKING:
    from collections.abc import Callable

    import pandas as pd

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=carrossel.__doc__)
app.add_typer(study_app, name="study")


@app.command()
def check() -> None:
    """Check all of params.yaml."""
    from carrossel.params import check as check_params

    with one_line_errors():
        check_params(load_params())
        typer.echo("params.yaml is valid.")


@app.command()
def probe(
    dataset: Annotated[str | None, typer.Argument(help="Name in params.yaml; every one if not given.")] = None,
) -> None:
    """Disturb later bars and compute again: does a feature, the target or a scaler know the future?"""
    from carrossel.bars.store import read_bars
    from carrossel.errors import BarsError
    from carrossel.targets.base import make_target
    from carrossel.windows.leak_probe import probe_question, spread_rows
    from carrossel.windows.question import read_question

    found = False
    with one_line_errors():
        params = load_params()
        for name in [dataset] if dataset is not None else lookup("datasets", params):
            windows, target = read_question(name, params)
            path = project_root() / "data" / "bars" / f"{name}.parquet"
            if not path.is_file():
                raise BarsError(f"{path} doesn't exist. Run: dvc repro prepare@{name}")
            bars = read_bars(path)
            rows = spread_rows(len(bars))
            leaks = probe_question(bars, windows, make_target(target), rows)
            for leak in leaks:
                typer.echo(f"{name}: {leak}")
            if not leaks:
                features = f"{len(windows.features)} feature{'s' if len(windows.features) > 1 else ''}"
                typer.echo(
                    f"{name}: {features}, the target and the scalers know nothing of the future (probed at {len(rows)} bars)"
                )
            found = found or bool(leaks)
    if found:
        raise typer.Exit(1)


@app.command()
def schema(path: Annotated[Path, typer.Argument(help="Where to write it.")] = Path("docs/params.schema.json")) -> None:
    """Write the JSON schema of params.yaml that editors complete and check by."""
    from carrossel.files import write_text
    from carrossel.params import schema as params_schema

    write_text(path, json.dumps(params_schema(), indent=2) + "\n")


@app.command()
def track() -> None:
    """Make the MLflow server show every result: log again what it lacks, complete pending registrations."""
    from carrossel.online.promotion import complete
    from carrossel.tracking.lab import sync_lab, sync_odyssey
    from carrossel.tracking.relog import sync_project

    root = project_root()
    with one_line_errors():
        logged = sync_project(root)
        for file in sorted(root.glob("reports/registered/*.json")):
            outcome = complete(file.stem, root=root, actor="carrossel track")
            if outcome.created:
                typer.echo(f"{file.stem}: {outcome.reason}")
        again = [f"{run.dataset}/{run.competitor}" for run in logged if run.created]
        typer.echo(f"MLflow has all {len(logged)} runs" + (f"; logged again: {', '.join(again)}." if again else "."))
        if sync_lab(root):
            typer.echo("MLflow has the lab's run.")
        if sync_odyssey(root):
            typer.echo("MLflow has the odyssey's run.")


@app.command()
def history(
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; every one if not given.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, with every figure.")] = False,
) -> None:
    """Say who was champion when, and why: the ledger, oldest first."""
    from carrossel.online.ledger import open_ledger
    from carrossel.tracking.config import tracking_root

    with one_line_errors(), open_ledger(tracking_root()) as ledger:
        entries = ledger.entries(dataset)
    for entry in entries:
        typer.echo(json.dumps(entry.as_dict(), sort_keys=True) if as_json else entry.sentence())
    if not entries and not as_json:
        typer.echo("Nothing has been decided yet" + (f" on {dataset}." if dataset else "."))


@app.command()
def rollback(
    dataset: Annotated[str, typer.Argument(help="Name in params.yaml.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
) -> None:
    """Make the version that served before champion again."""
    from carrossel.online.promotion import rollback as roll_back

    with one_line_errors():
        lookup(f"datasets.{dataset}", load_params())
        typer.echo(f"{dataset}: {roll_back(dataset, reason=reason, actor='carrossel rollback').reason}")


@app.command()
def forget(
    dataset: Annotated[str, typer.Argument(help="Name in params.yaml.")],
    version: Annotated[str, typer.Argument(help="Number of the registered version.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "",
) -> None:
    """Delete a version from the registry; one that serves, served before or was tried last is kept."""
    from carrossel.online.promotion import forget as forget_version

    with one_line_errors():
        lookup(f"datasets.{dataset}", load_params())
        typer.echo(f"{dataset}: {forget_version(dataset, version, reason=reason, actor='carrossel forget')}")


@app.command()
def warm(
    *,
    every: Annotated[bool, typer.Option("--all", help="All cells, not only those of params.yaml.")] = False,
) -> None:
    """Compile the cells' kernels once; later processes load them from numba's cache."""
    from carrossel.cells.kernels.warming import warm as warm_kernels
    from carrossel.params import check as check_params
    from carrossel.params import named_cells

    with one_line_errors():
        kinds = None
        if not every:
            params = load_params()
            check_params(params)
            kinds = named_cells(params)
        warm_kernels(kinds, report=typer.echo)


@app.command()
def policy(
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; every one if not given.")] = None,
) -> None:
    """Backtest retraining policies on stored bars: skill against compute spent."""
    from rich.console import Console

    from carrossel.online.policy.plan import read_plan
    from carrossel.online.policy.session import compare_policies
    from carrossel.tracking.mlflow_recorder import open_run

    with one_line_errors():
        params = load_params()
        for name in [dataset] if dataset is not None else lookup("datasets", params):
            plan = read_plan(name, params)
            if plan is None:
                typer.echo(
                    f"policy@{name}: online.policy.model names a baseline that can't answer this target.", err=True
                )
                continue
            table, sentences = compare_policies(plan, project_root(), open_run)
            Console().print(table)
            for sentence in sentences:
                typer.echo(sentence)


@app.command()
def verdict() -> None:
    """Say in one sentence per dataset what the last evaluation found."""
    folder = project_root() / "reports" / "evaluation"
    with one_line_errors():
        # A dataset that was removed from params.yaml leaves its last evaluation behind.
        files = [file for name in lookup("datasets", load_params()) if (file := folder / f"{name}.json").is_file()]
    if not files:
        typer.echo("carrossel: no evaluation yet. Run: make repro", err=True)
        raise typer.Exit(1)
    for file in files:
        evaluation = json.loads(file.read_text(encoding="utf-8"))
        typer.echo(f"{evaluation['verdict']}\n  {evaluation['registration']}")


@app.command()
def ui(port: Annotated[int, typer.Option(help="Port on 127.0.0.1.")] = 5000) -> None:
    """Serve MLflow's pages on 127.0.0.1 from the project's own store."""
    from carrossel.tracking.ui import serve_ui

    with one_line_errors():
        serve_ui(port)


@app.command()
def watch(
    *,
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; the only live one if not given.")] = None,
    bars: Annotated[int | None, typer.Option(min=1, help="Stop after so many bars.")] = None,
    json_lines: Annotated[bool, typer.Option("--json", help="One JSON object per event.")] = False,
    once: Annotated[bool, typer.Option("--once", help="Look once, catch up, stop.")] = False,
) -> None:
    """Forecast each new bar before it comes, score it when it has come, retrain when due."""
    from carrossel.online.watching import watch as watch_dataset

    with one_line_errors():
        watch_dataset(dataset, project_root(), bars=bars, json=json_lines, once=once)


@app.command()
def retrain(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Retrain now, once; `carrossel schedule` does it again and again.")
    ],
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; every one if not given.")] = None,
    actor: Annotated[str, typer.Option(help="Who asks, for the ledger.")] = "carrossel retrain",
) -> None:
    """Fetch, train challengers, let the gate decide; nothing happens twice.

    Ends with 0 when all is done, promoted or not; 1 if a dataset failed; 75 if another process retrains; 130 or 143 if stopped.
    """
    from carrossel.online.retraining import retrain_all

    if not once:
        raise typer.BadParameter("say --once; for again and again there is: carrossel schedule")
    with one_line_errors():
        status = retrain_all(
            [dataset] if dataset else None, project_root(), clock=_now, actor=actor, tell=_dated("retrain")
        )
    raise typer.Exit(status)


@app.command()
def schedule(
    *,
    cron: Annotated[str, typer.Option(help="Minute, hour, day of month, month, day of week, in UTC.")],
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; every one if not given.")] = None,
) -> None:
    """Retrain on schedule until stopped; what was missed is caught up by one retraining.

    Ends with 0 when stopped by SIGTERM or SIGINT; 1 if it can't work; 75 if another process schedules in this project.
    """
    from carrossel.errors import Busy
    from carrossel.online.retraining import BUSY
    from carrossel.online.scheduling import run_schedule

    with one_line_errors():
        if dataset is not None:
            lookup(f"datasets.{dataset}", load_params())
        tell = _dated("schedule")
        try:
            run_schedule(cron, project_root(), clock=_now, dataset=dataset, tell=tell)
        except Busy as error:
            tell(str(error))
            raise typer.Exit(BUSY) from None


def _now() -> pd.Timestamp:
    import pandas as pd

    return pd.Timestamp.now("UTC")


def _dated(command: str) -> Callable[[str], None]:
    """Lines that still say something next week."""
    return lambda line: print(f"{_now():%Y-%m-%dT%H:%M:%SZ} {command}: {line}", flush=True)


@app.command()
def serve(
    dataset: Annotated[str | None, typer.Option(help="Name in params.yaml; every one if not given.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="In place of online.serve.port.")] = None,
    *,
    worker: Annotated[bool, typer.Option(hidden=True)] = False,
) -> None:
    """Answer HTTP requests: raw bars in, the champion's forecast and interval out."""
    from carrossel.online.serving.server import serve as serve_forecasts

    with one_line_errors():
        serve_forecasts(dataset, port, worker=worker)


@app.callback(invoke_without_command=True)
def main(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Say the version."""
    if version:
        typer.echo(carrossel.__version__)
        raise typer.Exit
