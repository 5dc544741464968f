"""The only way to a new champion: registry, gate, ledger, aliases, in an order that survives being killed anywhere.

A version goes into the registry, found again by its key; the decision goes into the ledger; the aliases are moved; the ledger says
that they were. The ledger is the truth: `reconcile` makes the aliases what its last decision says.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.config import project_root
from carrossel.errors import ChampionError, ModelError, SeriesTooShort, TrackingError
from carrossel.files import write_json
from carrossel.online import champion as copies
from carrossel.online.database import read_online
from carrossel.online.gate import Decision, Incumbent, Verdict, choose_by_validation, decide, judge_candidates, nearest
from carrossel.online.ledger import (
    APPLIED,
    DECIDED,
    EXPIRED,
    FORGOTTEN,
    FOUND,
    MOVED_OUTSIDE,
    ROLLED_BACK,
    Entry,
    open_ledger,
)
from carrossel.tracking import registry
from carrossel.tracking.models import read_manifest
from carrossel.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS
from carrossel.tracking.relog import read_evaluation
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from carrossel.forecaster.stored import StoredForecaster
    from carrossel.online.ledger import Ledger
    from carrossel.tracking.store import Store

PROMOTED, REFUSED, KEPT = "promoted", "refused", "kept"
_LONGEST_KEY = 400  # characters of the ledger's column


@dataclass(frozen=True)
class Outcome:
    """What came of asking for a promotion.

    Attributes:
        version: of the model asked about; None where it isn't in the registry.
        aliases: versions by alias, as they are now.
        created: whether this call decided; otherwise it had been decided before, or there was nothing to decide.
        entry: the decision in the ledger; None where there was nothing to decide.
        decision: what the gate said; None where it wasn't asked now.
    """

    dataset: str
    competitor: str
    version: str | None
    promote: bool
    reason: str
    aliases: dict[str, str]
    created: bool
    entry: Entry | None = None
    decision: Decision | None = None


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
    with _room(dataset, store) as room:
        room.reconcile(actor, now)
        if (before := room.ledger.find_decision(key)) is not None:
            return room.known(before)
        folders = {folder.name: folder for folder in candidates}
        forecasts = {name: _read_forecasts(folder) for name, folder in folders.items()}
        if not forecasts:
            raise ModelError(f"{dataset}: there is no candidate. Train one first.")
        best = choose_by_validation(forecasts)
        unit = read_manifest(folders[best]).get("unit", "price")
        verdict = judge_candidates(forecasts, unit)[best]
        return room.decide(_Candidate(folders[best], forecasts[best], verdict), lambda: bars, root, key, actor, now)


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
    with _room(dataset, store) as room:
        registry.sync_dataset(room.store, dataset, root)
        room.reconcile(actor, now)
        found = registry.register(room.store, dataset, folder, choice.reason)
        before = room.ledger.find_model(dataset, found.key, found.run_id)
        aliases = registry.read_aliases(room.store, room.model)
        if before is not None:
            outcome = room.known(before)
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
            candidate = _Candidate(folder, _read_forecasts(folder), verdict)
            outcome = room.decide(
                candidate, lambda: _read_bars(dataset, root), root, f"{dataset} run {found.run_id}", actor, now
            )
        note = {"store": room.store.name, "model": room.model, "version": found.version, "run_id": found.run_id}
        alias = next((name for name, version in outcome.aliases.items() if version == found.version), None)
        write_json(room.store.root / ".carrossel" / "registry" / f"{dataset}.json", {**note, "alias": alias})
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
    with _room(dataset, store) as room:
        aliases = room.reconcile(actor, pd.Timestamp.now("UTC") if now is None else now)
        room.refresh(root or project_root(), aliases.get(CHAMPION))
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
    with _room(dataset, store) as room:
        aliases = room.reconcile(actor, now)
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
            model=registry.key_of(room.store, room.model, new),
            version_from=old,
            version_to=new,
            aliases=wanted,
        )
        entry = room.ledger.append(entry, now)
        room.apply(entry, now)
        room.refresh(root, new)
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
    with _room(dataset, store) as room:
        if not registry.has_version(room.store, room.model, version):
            raise ChampionError(f"{room.model} has no version {version!r}. See: carrossel history --dataset {dataset}")
        registry.check_free(room.store, room.model, version)
        state, _ = room.ledger.find_state(dataset)
        said = (state.aliases if state else None) or {}
        if names := sorted(alias for alias, one in said.items() if one == version):
            raise ChampionError(
                f"{room.model} version {version} shall be {', '.join(names)} by the ledger: not deleted. Let another version "
                f"take its place first; see: carrossel history --dataset {dataset}"
            )
        key = registry.key_of(room.store, room.model, version)
        entry = Entry(
            dataset=dataset,
            event=FORGOTTEN,
            actor=actor,
            reason=f"version {version} is forgotten" + (f": {reason}" if reason else "."),
            key=f"{dataset} forgotten {room.store.name} {version} {key}"[:_LONGEST_KEY],
            model=key,
            version_from=version,
        )
        # First the word, then the deed: killed in between, the next call finds the version and deletes it.
        entry = room.ledger.append(entry, now)
        registry.delete_version(room.store, room.model, version)
        return entry.reason


@dataclass(frozen=True)
class _Candidate:
    folder: Path
    forecasts: pd.DataFrame
    verdict: Verdict


@dataclass(frozen=True)
class _Room:
    """A dataset's registry and ledger, with everybody else locked out."""

    dataset: str
    store: Store
    ledger: Ledger

    @property
    def model(self) -> str:
        return registry.model_name(self.dataset)

    def decide(
        self,
        candidate: _Candidate,
        read_bars: Callable[[], pd.DataFrame],
        root: Path,
        key: str,
        actor: str,
        now: pd.Timestamp,
    ) -> Outcome:
        manifest = read_manifest(candidate.folder)
        name = candidate.folder.name
        aliases = registry.read_aliases(self.store, self.model)
        old = aliases.get(CHAMPION)
        held = registry.register(self.store, self.dataset, candidate.folder, candidate.verdict.verdict)
        decision = None
        if held.version == old:
            verdict, wanted, why = KEPT, aliases, f"{name}, version {old}, is {self.dataset}'s champion already."
        elif (before := self.ledger.find_model(self.dataset, held.key, held.run_id)) is not None:
            # Other code or data led to the very same model: what was refused or rolled back isn't brought back by that.
            verdict, wanted = KEPT, aliases
            why = f"{name}, version {held.version}, was decided on before (entry {before.id}): nobody's alias is moved."
        else:
            incumbent, note = self._ask_champion(old, candidate.forecasts, manifest, read_bars, root)
            decision = decide(
                name,
                candidate.forecasts,
                candidate.verdict.after(self._count_decisions(candidate.forecasts)),
                incumbent,
                unit=manifest.get("unit", "price"),
                rules=read_online().gate,
                interval=manifest.get("interval"),
            )
            verdict = PROMOTED if decision.promote else REFUSED
            wanted = _promoted(aliases, held.version) if decision.promote else {**aliases, CHALLENGER: held.version}
            why = decision.reason + note
        entry = self.ledger.append(
            Entry(
                dataset=self.dataset,
                event=DECIDED,
                actor=actor,
                reason=why,
                key=key,
                model=held.key,
                run=held.run_id,
                competitor=name,
                version_from=old,
                version_to=held.version,
                aliases=wanted,
                data_sha256=manifest.get("data_sha256"),
                code_revision=manifest.get("code_revision"),
                last_bar=(manifest.get("bars") or {}).get("last"),
                figures=decision.as_dict() if decision else None,
                verdict=verdict,
            ),
            now,
        )
        self.apply(entry, now)
        self.refresh(root, wanted.get(CHAMPION))
        return Outcome(
            self.dataset,
            name,
            held.version,
            promote=verdict == PROMOTED,
            reason=why,
            aliases=wanted,
            created=True,
            entry=entry,
            decision=decision,
        )

    def _count_decisions(self, forecasts: pd.DataFrame) -> int:
        """Times that the gate was asked on bars which judge the challenger now; no other decision looked at bars."""
        first = _moment(nearest(forecasts, "test")["origin"].iloc[0])
        asked = [e for e in self.ledger.entries(self.dataset) if e.event == DECIDED and e.figures is not None]
        return sum(e.last_bar is not None and _moment(e.last_bar) >= first for e in asked)

    def known(self, entry: Entry) -> Outcome:
        return Outcome(
            self.dataset,
            entry.competitor or "",
            entry.version_to,
            promote=entry.verdict == PROMOTED,
            reason=f"decided on {entry.time[:16]}: {entry.reason}",
            aliases=registry.read_aliases(self.store, self.model),
            created=False,
            entry=entry,
        )

    def apply(self, entry: Entry, now: pd.Timestamp) -> None:
        registry.move_aliases(self.store, self.model, entry.aliases or {})
        self.ledger.append(
            Entry(
                dataset=self.dataset,
                event=APPLIED,
                actor=entry.actor,
                reason=f"the aliases are what entry {entry.id} says.",
                key=f"{self.dataset} applied {entry.id}",
                entry=entry.id,
                version_from=entry.version_from,
                version_to=entry.version_to,
            ),
            now,
        )

    def reconcile(self, actor: str, now: pd.Timestamp) -> dict[str, str]:
        state, applied = self.ledger.find_state(self.dataset)
        actual = registry.read_aliases(self.store, self.model)
        if state is None:
            if actual:
                self._write_down(FOUND, "aliases from before this ledger", {}, actual, actor, now)
        elif applied:
            if actual != state.aliases:
                self._write_down(
                    MOVED_OUTSIDE, "aliases were moved outside of carrossel", state.aliases or {}, actual, actor, now
                )
        elif self._is_between(state, actual) and self._all_there(state):
            self.apply(state, now)
            actual = dict(state.aliases or {})
        else:
            self._write_down(
                MOVED_OUTSIDE,
                f"aliases were moved outside of carrossel before entry {state.id} was applied",
                state.aliases or {},
                actual,
                actor,
                now,
            )
        self._note_expiry(actual.get(CHAMPION), actor, now)
        return actual

    def refresh(self, root: Path, version: str | None) -> None:
        """Renew the copy that serves when the server is away; whoever asks for the champion next would do it, too."""
        try:
            copies.point(self.dataset, root, self.store, version)
        except (TrackingError, ModelError, OSError):
            return

    def _is_between(self, state: Entry, actual: dict[str, str]) -> bool:
        """Whether each alias is where it was before the entry or where it shall be: nobody else moved one."""
        earlier = [e for e in self.ledger.entries(self.dataset) if e.aliases is not None and e.id < state.id]
        before = (earlier[-1].aliases if earlier else None) or {}
        after = state.aliases or {}
        return all(actual.get(alias) in {before.get(alias), after.get(alias)} for alias in registry.ALIASES)

    def _all_there(self, state: Entry) -> bool:
        return all(registry.has_version(self.store, self.model, one) for one in (state.aliases or {}).values())

    def _write_down(
        self, event: str, why: str, before: dict[str, str], actual: dict[str, str], actor: str, now: pd.Timestamp
    ) -> None:
        there = ", ".join(f"{alias} is version {version}" for alias, version in actual.items()) or "there is none"
        entry = Entry(
            dataset=self.dataset,
            event=event,
            actor=actor,
            reason=f"{why}: {there}.",
            version_from=before.get(CHAMPION),
            version_to=actual.get(CHAMPION),
            aliases=actual,
        )
        self.ledger.append(entry, now)

    def _note_expiry(self, version: str | None, actor: str, now: pd.Timestamp) -> None:
        expires = read_online().champion.expires
        if version is None or expires is None:
            return
        try:
            folder = copies.copy_version(self.dataset, self.store.root, self.store, version)
        except (TrackingError, ModelError, OSError):
            return
        if why := copies.expiry(self.dataset, folder, expires, now):
            entry = Entry(
                dataset=self.dataset,
                event=EXPIRED,
                actor=actor,
                reason=f"{why}; persistence serves.",
                key=f"{self.dataset} expired {version}",
                version_from=version,
            )
            self.ledger.append(entry, now)

    def _ask_champion(
        self,
        version: str | None,
        forecasts: pd.DataFrame,
        manifest: dict[str, Any],
        read_bars: Callable[[], pd.DataFrame],
        root: Path,
    ) -> tuple[Incumbent | None, str]:
        """The champion's forecasts of the challenger's test part; without any, why it isn't compared.

        One that has expired is compared too: expiry is about what serves.
        """
        if version is None:
            return None, ""
        try:
            from carrossel.forecaster.stored import load

            forecaster = load(copies.copy_version(self.dataset, root, self.store, version))
        except ModelError as error:
            return None, f" Champion version {version} can't be used and wasn't compared: {error}"
        theirs = forecaster.manifest
        rows = nearest(forecasts, "test")
        horizon = int(rows["horizon"].iloc[0])
        if (theirs.get("unit", "price"), True) != (
            manifest.get("unit", "price"),
            horizon in forecaster.windows.horizons,
        ):
            return None, f" Champion version {version} answers another question and wasn't compared."
        try:
            answers = _forecast(forecaster, read_bars(), rows["origin"])
            seen = _moment(theirs["split"]["validation"]["last"])
        except (ModelError, SeriesTooShort, KeyError) as error:
            return None, f" Champion version {version} can't answer and wasn't compared: {error}"
        name = f"version {version} ({theirs.get('competitor', 'unnamed')})"
        return Incumbent(name, answers[answers["horizon"] == horizon], seen), ""


@contextmanager
def _room(dataset: str, store: Store | None) -> Iterator[_Room]:
    """Registry and ledger lie together: an experiment that DVC runs in a copy of the project uses the project's own."""
    store = store or open_tracking()
    with store.lock(f"promotion-{dataset}"), open_ledger(store.root) as ledger:
        yield _Room(dataset, store, ledger)


def _promoted(aliases: dict[str, str], version: str) -> dict[str, str]:
    wanted = {alias: held for alias, held in aliases.items() if held != version}
    if (old := aliases.get(CHAMPION)) is not None:
        wanted[PREVIOUS] = old
    return {**wanted, CHAMPION: version}


def _forecast(forecaster: StoredForecaster, bars: pd.DataFrame, origins: pd.Series) -> pd.DataFrame:
    """What a forecaster says at these origins, from no more bars than it needs."""
    stamps = pd.DatetimeIndex(bars["timestamp"])
    needed = int(forecaster.manifest.get("bars", {}).get("needed", forecaster.windows.lookback + 1))
    first, last = (int(stamps.searchsorted(_moment(one))) for one in (origins.min(), origins.max()))
    found = forecaster.predict(bars.iloc[max(0, first - needed + 1) : last + 1])
    return found[found["origin"].isin(pd.DatetimeIndex(origins).as_unit("ns"))]


def _moment(stamp: Any) -> pd.Timestamp:
    moment = pd.Timestamp(stamp)
    return moment if moment.tzinfo else moment.tz_localize("UTC")


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
