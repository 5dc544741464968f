"""The only ways to another champion: a candidate that passes the gate, a rollback; and what keeps the aliases true."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from carrossel.config import project_root
from carrossel.errors import ChampionError, ModelError
from carrossel.files import write_json
from carrossel.online.gate import Verdict, choose_by_validation, judge_candidates
from carrossel.online.ledger import FORGOTTEN, ROLLED_BACK, Entry
from carrossel.online.succession import Candidate, Outcome, open_succession
from carrossel.tracking import registry
from carrossel.tracking.models import read_manifest
from carrossel.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS
from carrossel.tracking.relog import read_evaluation

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carrossel.tracking.store import Store

_LONGEST_KEY = 400  # characters of the ledger's column


def decision_key(dataset: str, last_bar: pd.Timestamp, data_sha256: str, revision: str) -> str:
    """What a decision rests on: the same again needs no decision."""
    return f"{dataset} {pd.Timestamp(last_bar).isoformat()} {data_sha256} {revision}"


def consider(
    dataset: str,
    candidates: Sequence[Path],
    *,
    root: Path,
    bars: pd.DataFrame,
    key: str,
    actor: str,
    now: pd.Timestamp,
    store: Store | None = None,
) -> Outcome:
    """Let the best of the candidates by validation try to become champion; once for each key.

    Args:
        dataset: its name in params.yaml.
        candidates: model folders, of different names; all count as tried.
        root: the project's folder.
        bars: canonical bars that hold the candidates' test parts: the champion forecasts from them.
        key: see `decision_key`.
        actor: which command asks.
        now: the present, UTC.
        store: an open one; section `tracking` says which if not given.

    Raises:
        ModelError: if a candidate's folder is incomplete, or there is none.
        TrackingError: if the MLflow server fails; what was decided is kept, and `reconcile` finishes it.
        StoreError: if the ledger fails; nothing is decided then.
    """
    with open_succession(dataset, store) as succession:
        succession.reconcile(actor, now)
        if (before := succession.ledger.find_decision(key)) is not None:
            return succession.known(before)
        folders = {folder.name: folder for folder in candidates}
        forecasts = {name: _read_forecasts(folder) for name, folder in folders.items()}
        if not forecasts:
            raise ModelError(f"{dataset}: there is no candidate. Train one first.")
        best = choose_by_validation(forecasts)
        unit = read_manifest(folders[best]).get("unit", "price")
        verdict = judge_candidates(forecasts, unit)[best]
        return succession.decide(
            Candidate(folders[best], forecasts[best], verdict), lambda: bars, root, key, actor, now
        )


def complete(
    dataset: str,
    *,
    root: Path | None = None,
    store: Store | None = None,
    now: pd.Timestamp | None = None,
    actor: str = "register",
) -> Outcome:
    """Register what `registry.choose` makes of a dataset's evaluation, and let it try to become champion.

    Each model is decided on once: neither a second run nor a rollback makes it try again. It can be done at any time, such as
    when a server that was away is back. Version and run go to `.carrossel/registry/D.json`: they differ from server to
    server and have no place in DVC's outputs.

    Args:
        dataset: its name in params.yaml.
        root: the project's folder.
        store: an open one; section `tracking` says which if not given.
        now: the present, UTC; the clock's if not given.
        actor: which command asks.

    Raises:
        ModelError: if the evaluation or a model folder is missing or incomplete.
        BarsError: if there is a champion to compare with and no bars to forecast from.
        TrackingError, StoreError: see `consider`.
    """
    root = root or project_root()
    now = pd.Timestamp.now("UTC") if now is None else now
    choice = registry.read_choice(dataset, root)
    folder = root / "models" / dataset / choice.competitor
    with open_succession(dataset, store) as succession:
        registry.sync_dataset(succession.store, dataset, root)
        succession.reconcile(actor, now)
        found = registry.register(succession.store, dataset, folder, choice.reason)
        before = succession.ledger.find_model(dataset, found.key, found.run_id)
        aliases = registry.read_aliases(succession.store, succession.model)
        if before is not None:
            outcome = succession.known(before)
        elif aliases.get(CHAMPION) == found.version:
            reason = f"{choice.competitor}, version {found.version}, is {dataset}'s champion already."
            outcome = Outcome(
                dataset, choice.competitor, found.version, promote=False, reason=reason, aliases=aliases, created=False
            )
        else:
            judgement = read_evaluation(registry.evaluation_file(dataset, root))["judgements"][choice.competitor]
            verdict = Verdict(
                str(judgement["verdict"]),
                float(judgement.get("skill", choice.test_skill)),
                float(judgement["p_corrected"]),
                int(judgement.get("tried", 1)),
            )
            candidate = Candidate(folder, _read_forecasts(folder), verdict)
            outcome = succession.decide(
                candidate, lambda: _read_bars(dataset, root), root, f"{dataset} run {found.run_id}", actor, now
            )
        note = {
            "store": succession.store.name,
            "model": succession.model,
            "version": found.version,
            "run_id": found.run_id,
        }
        alias = next((name for name, version in outcome.aliases.items() if version == found.version), None)
        write_json(succession.store.root / ".carrossel" / "registry" / f"{dataset}.json", {**note, "alias": alias})
        return outcome


def reconcile(
    dataset: str,
    *,
    root: Path | None = None,
    now: pd.Timestamp | None = None,
    actor: str = "reconcile",
    store: Store | None = None,
) -> dict[str, str]:
    """Make the aliases what the ledger's last decision says, wherever a process was killed.

    An alias that is neither as it was before that decision nor as it says was moved by somebody else: that is written down and
    stays.

    Args:
        dataset: its name in params.yaml.
        root: the project's folder.
        now: the present, UTC; the clock's if not given.
        actor: which command asks.
        store: an open one; section `tracking` says which if not given.

    Returns:
        Versions by alias.

    Raises:
        TrackingError, StoreError: see `consider`.
    """
    with open_succession(dataset, store) as succession:
        aliases = succession.reconcile(actor, pd.Timestamp.now("UTC") if now is None else now)
        succession.refresh(root or project_root(), aliases.get(CHAMPION))
        return aliases


def rollback(
    dataset: str,
    *,
    root: Path | None = None,
    reason: str = "",
    now: pd.Timestamp | None = None,
    actor: str = "rollback",
    store: Store | None = None,
) -> Outcome:
    """Make the version that served before champion again, and the champion `previous`.

    Args:
        dataset: its name in params.yaml.
        root: the project's folder.
        reason: for the ledger.
        now: the present, UTC; the clock's if not given.
        actor: which command asks.
        store: an open one; section `tracking` says which if not given.

    Raises:
        ChampionError: if nothing served before.
        TrackingError, StoreError: see `consider`.
    """
    root = root or project_root()
    now = pd.Timestamp.now("UTC") if now is None else now
    with open_succession(dataset, store) as succession:
        aliases = succession.reconcile(actor, now)
        old, new = aliases.get(CHAMPION), aliases.get(PREVIOUS)
        if new is None:
            raise ChampionError(
                f"{dataset} can't be rolled back: no version served before "
                f"{'version ' + old if old else 'now'}. See: carrossel history --dataset {dataset}"
            )
        wanted = {name: version for name, version in aliases.items() if name == CHALLENGER and version != new}
        wanted |= {CHAMPION: new} | ({PREVIOUS: old} if old else {})
        said = f"version {new} serves again" + (f" in place of version {old}" if old else "")
        entry = Entry(
            dataset=dataset,
            event=ROLLED_BACK,
            actor=actor,
            reason=f"{said}: {reason}" if reason else f"{said}.",
            model=registry.key_of(succession.store, succession.model, new),
            version_from=old,
            version_to=new,
            aliases=wanted,
        )
        entry = succession.ledger.append(entry, now)
        succession.apply(entry, now)
        succession.refresh(root, new)
        return Outcome(dataset, "", new, promote=True, reason=entry.reason, aliases=wanted, created=True, entry=entry)


def forget(
    dataset: str,
    version: str,
    *,
    reason: str = "",
    now: pd.Timestamp | None = None,
    actor: str = "forget",
    store: Store | None = None,
) -> str:
    """Delete a version from the registry that neither holds an alias nor shall hold one. The ledger says so for good.

    Args:
        dataset: its name in params.yaml.
        version: its number.
        reason: for the ledger.
        now: the present, UTC; the clock's if not given.
        actor: which command asks.
        store: an open one; section `tracking` says which if not given.

    Returns:
        A sentence for people.

    Raises:
        ChampionError: if there is no such version, or the ledger wants an alias on it.
        TrackingError: if it holds an alias; and see `consider`.
        StoreError: see `consider`.
    """
    now = pd.Timestamp.now("UTC") if now is None else now
    with open_succession(dataset, store) as succession:
        if not registry.has_version(succession.store, succession.model, version):
            raise ChampionError(
                f"{succession.model} has no version {version!r}. See: carrossel history --dataset {dataset}"
            )
        registry.check_free(succession.store, succession.model, version)
        state, _ = succession.ledger.find_state(dataset)
        said = (state.aliases if state else None) or {}
        if names := sorted(alias for alias, one in said.items() if one == version):
            raise ChampionError(
                f"{succession.model} version {version} shall be {', '.join(names)} by the ledger: not deleted. Let another version "
                f"take its place first; see: carrossel history --dataset {dataset}"
            )
        key = registry.key_of(succession.store, succession.model, version)
        entry = Entry(
            dataset=dataset,
            event=FORGOTTEN,
            actor=actor,
            reason=f"version {version} is forgotten" + (f": {reason}" if reason else "."),
            key=f"{dataset} forgotten {succession.store.name} {version} {key}"[:_LONGEST_KEY],
            model=key,
            version_from=version,
        )
        # First the word, then the deed: killed in between, the next call finds the version and deletes it.
        entry = succession.ledger.append(entry, now)
        registry.delete_version(succession.store, succession.model, version)
        return entry.reason


def _read_forecasts(folder: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(folder / "forecasts.parquet")
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder}: forecasts.parquet can't be read ({error}). Train it again.") from None


def _read_bars(dataset: str, root: Path) -> pd.DataFrame:
    from carrossel.bars.store import read_bars
    from carrossel.errors import BarsError

    path = root / "data" / "bars" / f"{dataset}.parquet"
    if not path.is_file():
        raise BarsError(f"{path} doesn't exist, so the champion can't be asked. Run: dvc repro prepare@{dataset}")
    return read_bars(path)
