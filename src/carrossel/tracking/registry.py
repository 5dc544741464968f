"""The model registry: a dataset's versions, their aliases and files; and which model the evaluation would make champion.

Who moves an alias, and when, is `carrossel.online.promotion`'s business.
"""

from __future__ import annotations

import math
import shutil
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlsplit

from carrossel.errors import ModelError, TrackingError
from carrossel.files import replacing, sha256
from carrossel.tracking.mlflow_recorder import KEY_TAG
from carrossel.tracking.models import FILES_PATH, MODEL_FILES, OPTIONAL_FILES, find_model, log_model, read_manifest
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

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

    from carrossel.tracking.store import Store

Alias = Literal["champion", "challenger"]
CHAMPION, PREVIOUS, CHALLENGER = "champion", "previous", "challenger"
ALIASES = (CHAMPION, PREVIOUS, CHALLENGER)
"""Those that are ours: `champion` serves, `previous` served before it, `challenger` was tried last and didn't pass."""
HASH_TAG = "carrossel.sha256"
"""Prefix of a version's tags that say what its files hash to."""


_PREFIX = "carrossel-"
_NOT_FOUND = 404  # HTTP


@dataclass(frozen=True)
class Choice:
    """Which competitor of a dataset goes into the registry, what it deserves, and why.

    Attributes:
        alias: what it deserves beside persistence alone; the gate compares it with the champion there is.
        validation_skill: 1 − MSE/MSE of persistence on the validation part, by which it was chosen.
        test_skill: the same on the test part.
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
    """A version in the registry.

    Attributes:
        key: what `model_key` says of its folder.
        created: the registry lacked it.
    """

    model: str
    version: str
    key: str
    run_id: str
    created: bool


def model_name(dataset: str) -> str:
    """Name of a dataset's registered model."""
    return f"{_PREFIX}{dataset}"


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


def register(store: Store, dataset: str, folder: Path, reason: str) -> Version:
    """Put a model folder into the registry, without an alias; one that is there already isn't put there twice.

    Args:
        store: an open one.
        folder: the model folder.
        reason: why, as a tag.

    Raises:
        TrackingError: if the server fails.
        ModelError: if the folder isn't a complete model.
    """
    key, model = model_key(folder), model_name(dataset)
    with store.lock("tracking-sync"), _explaining(store):
        found = find_version(store.client, model, key)
        version = found or _create_version(store, model, key, folder, reason)
        return Version(model, str(version.version), key, str(version.run_id), created=found is None)


def read_aliases(store: Store, model: str) -> dict[str, str]:
    """The version under each of `ALIASES` that is given; empty if the model isn't registered.

    Raises:
        TrackingError: if the server fails.
    """
    from mlflow.exceptions import MlflowException

    with _explaining(store):
        try:
            held = store.client.get_registered_model(model).aliases
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return {}
        return {alias: str(held[alias]) for alias in ALIASES if alias in held}


def move_aliases(store: Store, model: str, wanted: Mapping[str, str]) -> None:
    """Give each of `ALIASES` to the version wanted, and take away those that nobody shall have.

    Whoever looks in between sees a champion, the old one or the new.

    Raises:
        TrackingError: if the server fails.
    """
    held = read_aliases(store, model)
    with _explaining(store):
        for alias in (PREVIOUS, CHAMPION, CHALLENGER):
            if alias in wanted and held.get(alias) != wanted[alias]:
                store.client.set_registered_model_alias(model, alias, wanted[alias])
        for alias in held.keys() - wanted.keys():
            store.client.delete_registered_model_alias(model, alias)


def has_version(store: Store, model: str, version: str) -> bool:
    """Whether the registry has a version, with whatever alias.

    Raises:
        TrackingError: if the server fails.
    """
    with _explaining(store):
        return _get_version(store, model, version) is not None


def key_of(store: Store, model: str, version: str) -> str | None:
    """What `model_key` said of a version's folder; None if it was registered by other hands, or is gone.

    Raises:
        TrackingError: if the server fails.
    """
    with _explaining(store):
        found = _get_version(store, model, version)
        return None if found is None or KEY_TAG not in found.tags else str(found.tags[KEY_TAG])


def download(store: Store, model: str, version: str, folder: Path) -> dict[str, str]:
    """Copy a version's files into an existing folder: those of a model folder by name, and nothing else.

    No path comes from the registry, nothing is unpickled, and none of the code it holds is run.

    Returns:
        SHA-256 of each file, by name.

    Raises:
        TrackingError: if the server fails.
        ModelError: if files are gone, lie where none of ours do, aren't those that were registered, or are no model of ours.
    """
    where = f"{model} version {version}"
    hashes = {}
    with _explaining(store), tempfile.TemporaryDirectory(prefix="carrossel-version-") as temporary:
        found = store.client.get_model_version(model, version)
        location = _check_location(store, where, str(found.source))
        for name in (*MODEL_FILES, *(name for name in OPTIONAL_FILES if f"{HASH_TAG}.{name}" in found.tags)):
            came = _download_file(store, where, f"{location}/{FILES_PATH}/{name}", Path(temporary))
            hashes[name] = sha256(came)
            if found.tags.get(f"{HASH_TAG}.{name}", hashes[name]) != hashes[name]:
                raise ModelError(f"{where}: {name} isn't the file that was registered. Promote another version.")
            with replacing(folder / name) as target:
                shutil.copyfile(came, target)
    if model_name(str(read_manifest(folder).get("dataset"))) != model:
        raise ModelError(f"{where}: its manifest is of another dataset. Promote another version.")
    return hashes


def find_version(client: MlflowClient, model: str, key: str) -> ModelVersion | None:
    """The version of a registered model that has that key, the newest if there are several, or None."""
    versions = client.search_model_versions(f"name = '{model}' and tags.`{KEY_TAG}` = '{key}'")
    return max(versions, key=lambda version: int(version.version), default=None)


def check_free(store: Store, model: str, version: str) -> None:
    """Make sure that a version holds no alias, whoever gave it.

    Raises:
        TrackingError: if it does, or the server fails.
    """
    with _explaining(store):
        aliases = sorted(store.client.get_model_version(model, version).aliases)
    if aliases:
        raise TrackingError(
            f"{model} version {version} is {', '.join(aliases)}: not deleted. Give the alias to another version first."
        )


def delete_version(store: Store, model: str, version: str) -> None:
    """Delete a version that holds no alias; MLflow alone would drop the champion without a word.

    Raises:
        TrackingError: if it holds an alias, or the server fails.
    """
    check_free(store, model, version)
    with _explaining(store):
        store.client.delete_model_version(model, version)


def sync_dataset(store: Store, dataset: str, root: Path) -> None:
    """Make the server have what a registration rests on: a run of every competitor, the evaluation, plots and report.

    Raises:
        ModelError: if the evaluation or a model folder is missing or incomplete.
        TrackingError: if the server fails.
    """
    with store.lock("tracking-sync"):
        runs = [sync_folder(store, folder) for folder in _folders(dataset, root)]
        sync_evaluation(store, read_evaluation(evaluation_file(dataset, root)), runs)
        sync_reports(store, root, dataset)


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


def _get_version(store: Store, model: str, version: str) -> ModelVersion | None:
    from mlflow.exceptions import MlflowException

    try:
        return store.client.get_model_version(model, version)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None


def _create_version(store: Store, model: str, key: str, folder: Path, reason: str) -> ModelVersion:
    from mlflow.exceptions import MlflowException

    client = store.client
    run_id = sync_folder(store, folder).run_id
    try:
        client.create_registered_model(model, description=f"Forecasts {model.removeprefix(_PREFIX)}.")
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise
    model_id = find_model(client, run_id) or log_model(client, run_id, folder)
    present = [name for name in (*MODEL_FILES, *OPTIONAL_FILES) if (folder / name).is_file()]
    return client.create_model_version(
        model,
        source=client.get_logged_model(model_id).artifact_location,
        run_id=run_id,
        model_id=model_id,
        tags={
            KEY_TAG: key,
            **manifest_tags(read_manifest(folder)),
            **{f"{HASH_TAG}.{name}": sha256(folder / name) for name in present},
            "reason": reason,
        },
    )


def _download_file(store: Store, where: str, uri: str, folder: Path) -> Path:
    from mlflow.artifacts import download_artifacts
    from mlflow.exceptions import MlflowException

    try:
        came = Path(download_artifacts(artifact_uri=uri, dst_path=str(folder), tracking_uri=store.uri))
    except (MlflowException, OSError) as error:
        missing = getattr(error, "error_code", None) == "RESOURCE_DOES_NOT_EXIST"
        if missing or getattr(getattr(error, "response", None), "status_code", None) == _NOT_FOUND:
            name = uri.rpartition("/")[2]
            raise ModelError(f"{where}: {name} is gone from the store. Promote another version.") from None
        raise
    if came.is_symlink() or not came.is_file() or came.resolve().parent != folder.resolve():
        raise ModelError(f"{where}: {came.name} is no plain file. Promote another version.")
    return came


def _check_location(store: Store, where: str, source: str) -> str:
    """Where a version's files lie: under the store's own artifacts if it keeps them in a folder, else on a server."""
    parts = urlsplit(source)
    if ".." in unquote(parts.path).replace("\\", "/").split("/"):
        raise ModelError(f"{where}: its files would lie at {source!r}; a path without '..' was expected.")
    if parts.scheme in {"", "file"} and store.artifacts is not None:
        path = Path(unquote(parts.path)).resolve()
        if not path.is_relative_to(store.artifacts.resolve()):
            raise ModelError(f"{where}: its files lie in {path}, not in {store.artifacts}. Promote another version.")
    return source.rstrip("/")


@contextmanager
def _explaining(store: Store) -> Iterator[None]:
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, OSError) as error:
        raise TrackingError(store.explain(error)) from None
