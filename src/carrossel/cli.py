"""`carrossel`: what is not a stage of the pipeline. Thin: each command calls one room."""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

import carrossel
from carrossel.config import load_params, lookup, project_root
from carrossel.errors import CarrosselError

if TYPE_CHECKING:
    from collections.abc import Iterator

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help=carrossel.__doc__)


@contextmanager
def _one_line_errors() -> Iterator[None]:
    try:
        yield
    except CarrosselError as error:
        typer.echo(f"carrossel: {' '.join(str(error).split())}", err=True)
        raise typer.Exit(1) from None


@app.command()
def check() -> None:
    """Check all of params.yaml."""
    from carrossel.params import check as check_params

    with _one_line_errors():
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
    with _one_line_errors():
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
    from carrossel.tracking.registry import complete_registration
    from carrossel.tracking.relog import sync_project

    root = project_root()
    with _one_line_errors():
        logged = sync_project(root)
        for file in sorted(root.glob("reports/registered/*.json")):
            complete_registration(file.stem, root=root)
        again = [f"{run.dataset}/{run.competitor}" for run in logged if run.created]
        typer.echo(f"MLflow has all {len(logged)} runs" + (f"; logged again: {', '.join(again)}." if again else "."))


@app.command()
def warm() -> None:
    """Compile the cells' kernels once; later processes load them from numba's cache."""
    from carrossel.cells.kernels.warming import warm as warm_kernels

    with _one_line_errors():
        warm_kernels(report=typer.echo)


@app.command()
def verdict() -> None:
    """Say in one sentence per dataset what the last evaluation found."""
    folder = project_root() / "reports" / "evaluation"
    with _one_line_errors():
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

    with _one_line_errors():
        serve_ui(port)


@app.callback(invoke_without_command=True)
def main(*, version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    """Say the version."""
    if version:
        typer.echo(carrossel.__version__)
        raise typer.Exit
