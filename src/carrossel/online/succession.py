"""Who serves after whom: a dataset's candidates, gate, ledger and aliases, in an order that survives being killed anywhere.

A version goes into the registry, found again by its key; the decision goes into the ledger; the aliases are moved; the ledger says
that they were. The ledger is the truth: `Succession.reconcile` makes the aliases what its last decision says.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.errors import ModelError, SeriesTooShort, TrackingError
from carrossel.online import champion as copies
from carrossel.online.database import read_online
from carrossel.online.gate import Decision, Incumbent, Verdict, decide, nearest
from carrossel.online.ledger import APPLIED, DECIDED, EXPIRED, FOUND, MOVED_OUTSIDE, Entry, open_ledger
from carrossel.tracking import registry
from carrossel.tracking.models import read_manifest
from carrossel.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS
from carrossel.tracking.store import open_tracking

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carrossel.forecaster.stored import StoredForecaster
    from carrossel.online.ledger import Ledger
    from carrossel.tracking.store import Store

PROMOTED, REFUSED, KEPT = "promoted", "refused", "kept"


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


@dataclass(frozen=True)
class Candidate:
    """A model that tries to become champion, and what its evaluation says."""

    folder: Path
    forecasts: pd.DataFrame
    verdict: Verdict


@dataclass(frozen=True)
class Succession:
    """A dataset's registry and ledger, with everybody else locked out."""

    dataset: str
    store: Store
    ledger: Ledger

    @property
    def model(self) -> str:
        """The registered model's name."""
        return registry.model_name(self.dataset)

    def decide(
        self,
        candidate: Candidate,
        read_bars: Callable[[], pd.DataFrame],
        root: Path,
        key: str,
        actor: str,
        now: pd.Timestamp,
    ) -> Outcome:
        """Register a candidate, ask the gate, write the decision down and move the aliases.

        Args:
            candidate: a complete model folder and its evaluation.
            read_bars: gives bars that hold the candidate's test part; called only if there is a champion to ask.
            root: the project's folder.
            key: what the decision rests on.
            actor: which command asks.
            now: the present, UTC.
        """
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
        """What was decided before."""
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
        """Move the aliases where a decision wants them, and write down that they were."""
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
        """Make the aliases what the last decision says, or write down that somebody else moved them; versions by alias."""
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
def open_succession(dataset: str, store: Store | None) -> Iterator[Succession]:
    """Lock a dataset's registry and ledger until the end of the block.

    They lie together: an experiment that DVC runs in a copy of the project uses the project's own.

    Args:
        dataset: its name in params.yaml.
        store: an open one; section `tracking` says which if not given.
    """
    store = store or open_tracking()
    with store.lock(f"promotion-{dataset}"), open_ledger(store.root) as ledger:
        yield Succession(dataset, store, ledger)


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
