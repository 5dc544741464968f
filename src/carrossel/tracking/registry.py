"""The model registry: which model of a dataset is champion, and why."""

from __future__ import annotations

import math
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from carrossel.config import project_root
from carrossel.errors import ModelError, TrackingError
from carrossel.files import write_json
from carrossel.tracking.mlflow_recorder import KEY_TAG
from carrossel.tracking.models import find_model, log_model, read_manifest
from carrossel.tracking.relog import (
    dataset_of,
    find_model_folders,
    is_baseline,
    manifest_tags,
    model_key,
    read_evaluation,
    sync_evaluation,
    sync_folder,
)
from carrossel.tracking.reports import sync_reports
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from carrossel.tracking.store import Store

Alias = Literal["champion", "challenger"]
ALIASES: tuple[Alias, ...] = ("champion", "challenger")


@dataclass(frozen=True)
class Choice:
    """Which competitor of a dataset goes into the registry, as what, and why.

    Attributes:
        validation_skill: 1 − MSE/MSE of persistence on the validation part, by which it was chosen.
        test_skill: the same on the test part, which decides the alias.
    """

    dataset: str
    competitor: str
    alias: Alias
    reason: str
    validation_skill: float
    test_skill: float

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return model_name(self.dataset)


@dataclass(frozen=True)
class Version:
    """A version in the registry."""

    model: str
    version: str
    run_id: str
    alias: str
    created: bool


def model_name(dataset: str) -> str:
    """Name of a dataset's registered model."""
    return f"carrossel-{dataset}"


def choose(evaluation: Mapping[str, Any], competitors: set[str]) -> Choice:
    """The best trained model by validation; champion only if its verdict on test is 'beats persistence'.

    Args:
        evaluation: as in reports/evaluation/D.json.
        competitors: those with a model folder; other rows, such as persistence, are baselines.

    Raises:
        ModelError: if no trained model has a skill on both parts.
    """
    dataset = evaluation["dataset"]
    skills = {
        name: (float(row["skill"]), float(evaluation["rows"]["test"].get(name, {}).get("skill", math.nan)))
        for name, row in evaluation["rows"]["validation"].items()
        if name in competitors and row.get("skill") is not None
    }
    finite = {name: pair for name, pair in skills.items() if all(map(math.isfinite, pair))}
    if not finite:
        raise ModelError(
            f"{dataset}: no trained model has a skill on validation and test; models: "
            f"{', '.join(sorted(competitors)) or 'none'}. Run: dvc repro evaluate@{dataset}"
        )
    best = min(finite, key=lambda name: (-finite[name][0], name))
    validation, test = finite[best]
    judgement = evaluation["judgements"][best]
    verdict = str(judgement["verdict"])
    alias: Alias = "champion" if verdict == "beats persistence" else "challenger"
    return Choice(
        dataset=dataset,
        competitor=best,
        alias=alias,
        reason=(
            f"{best} is best by validation (skill {validation:+.4f}); on test its skill is {test:+.4f}, "
            f"p = {judgement['p_corrected']:.2g}, verdict '{verdict}': {alias}."
        ),
        validation_skill=validation,
        test_skill=test,
    )


def register(store: Store, choice: Choice, key: str, run_id: str, folder: Path) -> Version:
    """Put a run's model into the registry and give it its alias; a model that is there already isn't put there twice.

    Args:
        store: an open one.
        choice: what `choose` says.
        key: what `model_key` says of the folder.
        run_id: the finished run of that key; the model is logged to it if it has none.
        folder: the model folder.

    Raises:
        TrackingError: if the server fails.
        ModelError: if the folder isn't a complete model.
    """
    with _explaining(store):
        client = store.client
        found = find_version(client, choice.model, key)
        version = found or _create_version(client, choice, key, run_id, folder)
        number = str(version.version)
        client.set_model_version_tag(choice.model, number, "reason", choice.reason)
        _set_alias(client, choice.model, number, choice.alias)
        return Version(choice.model, number, run_id, choice.alias, created=found is None)


def find_version(client: MlflowClient, model: str, key: str) -> ModelVersion | None:
    """The version of a registered model that has that key, or None."""
    versions = client.search_model_versions(f"name = '{model}' and tags.`{KEY_TAG}` = '{key}'")
    return max(versions, key=lambda version: int(version.version), default=None)


def delete_version(store: Store, model: str, version: str) -> None:
    """Delete a version that holds no alias; MLflow alone would drop the champion without a word.

    Raises:
        TrackingError: if it holds an alias, or the server fails.
    """
    with _explaining(store):
        aliases = sorted(store.client.get_model_version(model, version).aliases)
        if aliases:
            raise TrackingError(
                f"{model} version {version} is {', '.join(aliases)}: not deleted. "
                "Give the alias to another version first."
            )
        store.client.delete_model_version(model, version)


def complete_registration(dataset: str, *, root: Path | None = None, store: Store | None = None) -> Version:
    """Do on the server what reports/registered/D.json says: the version and the alias; and what they rest on first.

    That is a run of every competitor, the evaluation on each, and the plots and the report.

    It can be done again at any time, such as when a server that was away is back. Version and run go to
    `.carrossel/registry/D.json`: they differ from server to server and have no place in DVC's outputs.

    Args:
        dataset: its name in params.yaml.
        root: the project's folder.
        store: an open one; section `tracking` says which if not given.

    Raises:
        ModelError: if the evaluation or the model folder is missing or incomplete.
        TrackingError: if the server fails.
    """
    root = root or project_root()
    choice = read_choice(dataset, root)
    folder = root / "models" / dataset / choice.competitor
    store = store or open_tracking()
    with store.lock("tracking-sync"):
        runs = {run.competitor: run for run in map(partial(sync_folder, store), _folders(dataset, root))}
        sync_evaluation(store, read_evaluation(evaluation_file(dataset, root)), runs.values())
        sync_reports(store, root, dataset)
        chosen = runs[choice.competitor]
        version = register(store, choice, chosen.key, chosen.run_id, folder)
    note = {name: getattr(version, name) for name in ("model", "version", "alias", "run_id")}
    write_json(store.root / ".carrossel" / "registry" / f"{dataset}.json", {"store": store.name, **note})
    return version


def read_choice(dataset: str, root: Path) -> Choice:
    """What a dataset's evaluation and model folders on disk lead to; see `choose`.

    Raises:
        ModelError: see `choose` and `read_evaluation`.
    """
    return choose(read_evaluation(evaluation_file(dataset, root)), _candidates(dataset, root))


def _folders(dataset: str, root: Path) -> list[Path]:
    return [folder for folder in find_model_folders(root / "models") if dataset_of(folder) == dataset]


def _candidates(dataset: str, root: Path) -> set[str]:
    return {folder.name for folder in _folders(dataset, root) if not is_baseline(read_manifest(folder))}


def describe(choice: Choice, root: Path) -> dict[str, Any]:
    """reports/registered/D.json: the same for the same models and evaluation, whatever the server does.

    Raises:
        ModelError: if the model folder isn't complete.
    """
    return {
        "dataset": choice.dataset,
        "model": choice.model,
        "competitor": choice.competitor,
        "key": model_key(root / "models" / choice.dataset / choice.competitor),
        "alias": choice.alias,
        "reason": choice.reason,
        "validation_skill": choice.validation_skill,
        "test_skill": choice.test_skill,
    }


def evaluation_file(dataset: str, root: Path) -> Path:
    """Where a dataset's evaluation lies."""
    return root / "reports" / "evaluation" / f"{dataset}.json"


def _create_version(client: MlflowClient, choice: Choice, key: str, run_id: str, folder: Path) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(choice.model, description=f"Forecasts {choice.dataset}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = find_model(client, run_id) or log_model(client, run_id, folder)
    return client.create_model_version(
        choice.model,
        source=client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        model_id=model_id,
        tags={KEY_TAG: key, **manifest_tags(read_manifest(folder)), "reason": choice.reason},
    )


def _set_alias(client: MlflowClient, model: str, number: str, alias: Alias) -> None:
    held = set(client.get_model_version(model, number).aliases)
    if alias not in held:
        client.set_registered_model_alias(model, alias, number)
    for other in held & set(ALIASES) - {alias}:  # a version is the one or the other
        client.delete_registered_model_alias(model, other)


@contextmanager
def _explaining(store: Store) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackingError(store.explain(error)) from None
