"""Which model serves: the registry's champion, a copy of it beside the project, or persistence; and why."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import pandas as pd
from filelock import FileLock

from carrossel.bars.interval import nanoseconds
from carrossel.errors import ModelError, TrackingError
from carrossel.files import replacing_folder, sha256, write_json

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.tracking.store import Store

_COPY = "copy.json"  # within a copied folder: whose it is, and what its files hash to


@dataclass(frozen=True)
class Champion:
    """What serves a dataset.

    Attributes:
        version: of the registered model; None: persistence serves.
        folder: its files: `manifest.json`, `model.safetensors` and, unless it was registered before there were any,
            `model.onnx`; None with persistence.
        reason: a sentence for people.
        problem: what keeps the champion there should be from being asked for or from serving; None while all is well, also
            where nobody is champion.
    """

    dataset: str
    version: str | None
    folder: Path | None
    reason: str
    problem: str | None = None


def find_champion(
    dataset: str, root: Path, *, expires: str | None, now: pd.Timestamp, store: Store | None = None
) -> Champion:
    """Ask the registry who is champion, and keep a copy of its files.

    While the registry is away, or its champion's files can't be used, what served before goes on, and the reason says so.

    Args:
        dataset: its name in params.yaml.
        root: the project's folder: copies lie in `.carrossel/champions`.
        expires: age of the newest training bar from which on persistence serves, such as 30d; None for never.
        now: the present, UTC.
        store: an open one; section `tracking` says which if not given.
    """
    from carrossel.tracking.registry import CHAMPION, model_name, read_aliases
    from carrossel.tracking.store import open_tracking

    try:
        store = store or open_tracking()
        version = read_aliases(store, model_name(dataset)).get(CHAMPION)
        point(dataset, root, store, version)
    except (TrackingError, ModelError, OSError) as error:  # OSError: a full disk
        found = local_champion(dataset, root, expires=expires, now=now)
        away = f"the registry's can't be had: {error}"
        problem = f"{found.problem}; {away}" if found.problem else away
        return replace(found, reason=f"{found.reason}; {away}", problem=problem)
    return local_champion(dataset, root, expires=expires, now=now)


def local_champion(dataset: str, root: Path, *, expires: str | None, now: pd.Timestamp) -> Champion:
    """The champion as it was last asked for, from the copy alone: no MLflow, no network.

    Args:
        dataset, root, expires, now: see `find_champion`.
    """
    pointer = _read(_pointer(dataset, root))
    if pointer is None:
        return _persistence(dataset, f"no champion of {dataset} has been copied yet")
    version = pointer.get("version")
    if version is None:
        return _persistence(dataset, f"{dataset} has no champion")
    folder = _folder(dataset, root, str(version))
    if folder is None or not _is_whole(folder, pointer):
        return _fall_back(dataset, f"the copy of {dataset}'s champion, version {version}, is damaged")
    manifest = _read(folder / "manifest.json") or {}
    if expires is not None and (why := _expiry(manifest, expires, now)):
        return _fall_back(dataset, f"{dataset}'s champion, version {version}, has expired: {why}")
    name = manifest.get("competitor", "unnamed")
    return Champion(dataset, str(version), folder, f"version {version} ({name}) is {dataset}'s champion")


def point(dataset: str, root: Path, store: Store, version: str | None) -> None:
    """Copy a version and let the pointer name it; what served before it is kept, and older copies go.

    Args:
        version: None: nobody is champion.

    Raises:
        TrackingError: if the server fails; the pointer stays as it was.
        ModelError: if the version's files can't be used; the pointer stays as it was.
    """
    file = _pointer(dataset, root)
    with _lock(dataset, root):
        before = _read(file) or {}
        wanted = {"version": None} if version is None else _copy(dataset, root, store, version)
        if before == wanted:
            return
        write_json(file, wanted)
        kept = {str(one.get("version")) for one in (before, wanted)}
        for folder in file.with_suffix("").glob("[0-9]*"):
            if folder.name not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def copy_version(dataset: str, root: Path, store: Store, version: str) -> Path:
    """Folder with a version's files; copied if it isn't there yet, or isn't what was copied.

    Raises:
        TrackingError: if the server fails.
        ModelError: if the version's files can't be used.
    """
    with _lock(dataset, root):
        _copy(dataset, root, store, version)
    folder = _folder(dataset, root, version)
    if folder is None:
        raise ModelError(f"{dataset}: {version!r} is no version's number.")
    return folder


def expiry(dataset: str, folder: Path, expires: str, now: pd.Timestamp) -> str | None:
    """Why a champion doesn't serve any more; None while it does.

    Args:
        folder: its files.
        expires, now: see `find_champion`.
    """
    why = _expiry(_read(folder / "manifest.json") or {}, expires, now)
    return f"{dataset}'s champion has expired: {why}" if why else None


def _copy(dataset: str, root: Path, store: Store, version: str) -> dict[str, Any]:
    from carrossel.tracking.registry import download, key_of, model_name

    model = model_name(dataset)
    folder = _folder(dataset, root, version)
    if folder is None:
        raise ModelError(f"{model}: {version!r} is no version's number.")
    # A number says little: another store has a version of the same number.
    identity = {"version": version, "store": store.name, "key": key_of(store, model, version)}
    there = _read(folder / _COPY)
    if there is not None and identity.items() <= there.items() and _is_whole(folder, there):
        return there
    with replacing_folder(folder) as temporary:
        copy = {**identity, "files": download(store, model, version, temporary)}
        write_json(temporary / _COPY, copy)
    return copy


def _is_whole(folder: Path, copy: dict[str, Any]) -> bool:
    files = copy.get("files")
    if not isinstance(files, dict) or "manifest.json" not in files:
        return False
    try:
        # A pointer from elsewhere names no file outside of the folder.
        return all(PurePath(name).name == name and sha256(folder / name) == digest for name, digest in files.items())
    except OSError:
        return False


def _expiry(manifest: dict[str, Any], expires: str, now: pd.Timestamp) -> str | None:
    try:
        last = pd.Timestamp(manifest["bars"]["last"])
        age = now - (last if last.tzinfo else last.tz_localize("UTC"))
    except (KeyError, TypeError, ValueError):
        return f"its manifest doesn't say on which bars it was trained (champion.expires is {expires})"
    if age < pd.Timedelta(nanoseconds(expires), "ns"):
        return None
    return f"its newest training bar is {last}, {expires} old or older (online.champion.expires)"


def _persistence(dataset: str, why: str) -> Champion:
    return Champion(dataset, None, None, f"persistence serves: {why}")


def _fall_back(dataset: str, problem: str) -> Champion:
    return replace(_persistence(dataset, problem), problem=problem)


def _pointer(dataset: str, root: Path) -> Path:
    return root / ".carrossel" / "champions" / f"{dataset}.json"


def _folder(dataset: str, root: Path, version: str) -> Path | None:
    """Where a version's copy lies; None if it is no number, which alone makes a path that is safe."""
    return _pointer(dataset, root).with_suffix("") / version if version.isascii() and version.isdigit() else None


def _read(file: Path) -> dict[str, Any] | None:
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _lock(dataset: str, root: Path) -> FileLock:
    file = root / ".carrossel" / "locks" / f"champion-{dataset}.lock"
    file.parent.mkdir(parents=True, exist_ok=True)
    return FileLock(file)
