"""`carrossel retrain`: fetch → what changed → challengers → gate → ledger; killed anywhere, the next run goes on.

Every step can be done again: DVC knows what it has made, a training goes on from its checkpoint, a decision is made once per key
(dataset, last closed bar, hash of the bars, code). So there is no state of its own to lose.
"""

from __future__ import annotations

import hashlib
import signal
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carrossel.config import load_params, lookup
from carrossel.errors import Busy, CarrosselError, ConfigError, RetrainingError
from carrossel.files import sha256
from carrossel.online.database import read_online
from carrossel.online.dvc import run_dvc
from carrossel.online.leftovers import remove_leftovers
from carrossel.online.locking import alone
from carrossel.revision import code_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from types import FrameType

    import pandas as pd

    Tell = Callable[[str], None]
    Dvc = Callable[[Sequence[str], Path], int]

DONE, FAILED, BUSY = 0, 1, 75
"""Exit statuses of `carrossel retrain`; 75 is EX_TEMPFAIL of sysexits.h: another process retrains, try again later."""
INTERRUPTED, TERMINATED = 130, 143
"""The same after Ctrl-C and after SIGTERM, as shells have it."""
LOCK = "retrain"
ACTOR = "carrossel retrain"
_LONGEST_ACTOR = 200  # characters of the ledger's column


@dataclass(frozen=True)
class Outcome:
    """What a retraining came to.

    Attributes:
        key: of the decision.
        decided: whether it was made now; else it had been.
        reason: a sentence for people.
    """

    dataset: str
    key: str
    decided: bool
    reason: str


def retrain_all(
    datasets: Sequence[str] | None,
    root: Path,
    *,
    clock: Callable[[], pd.Timestamp],
    actor: str = ACTOR,
    tell: Tell = print,
    dvc: Dvc = run_dvc,
) -> int:
    """Retrain one dataset after the other; one that fails doesn't keep the others from it.

    Args:
        datasets: every one in params.yaml if not given.
        root: the project's folder.
        clock: the present, UTC.
        actor: who asks, for the ledger: one line, cut after 200 characters.
        tell: takes a line for people.
        dvc: runs DVC with arguments in a folder: its exit status.

    Returns:
        0 if all is as it should be, promoted or not; 1 if a dataset failed; 75 if another process retrains, or works with DVC;
        130 or 143 if stopped.

    Raises:
        ConfigError: if params.yaml is wrong; then nothing was done.
    """
    params = load_params()
    actor = " ".join(actor.split())[:_LONGEST_ACTOR] or ACTOR
    names = list(lookup("datasets", params)) if datasets is None else list(datasets)
    for name in names:
        _check(name, params)
    status = DONE
    with _terminable() as terminated:
        try:
            with alone(root, LOCK, now=clock()):
                if removed := remove_leftovers(root, clock()):
                    tell(f"{len(removed)} folders that killed processes had left more than a week ago were removed.")
                for name in names:
                    try:
                        _retrain(name, root, now=clock(), actor=actor, tell=tell, dvc=dvc)
                    except Busy as error:
                        tell(f"{name}: {_sentence(error)} The next run goes on from here.")
                        status = status or BUSY
                    except Exception as error:  # noqa: BLE001 -- torch and others raise anything on a full disk; the others go on
                        tell(f"{name}: failed: {_sentence(error)} The next run goes on from here.")
                        status = FAILED
        except Busy as error:
            tell(str(error))
            status = BUSY
        except (KeyboardInterrupt, SystemExit):  # Lightning turns the one into the other
            tell("stopped; what was finished is kept, and the next run goes on from here.")
            status = TERMINATED if terminated else INTERRUPTED
    return status


@contextmanager
def _terminable() -> Iterator[list[int]]:
    """Let SIGTERM unwind the block as Ctrl-C does, children first; the yielded list tells whether it came."""
    came: list[int] = []

    def unwind(number: int, _frame: FrameType | None) -> None:
        came.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, unwind)
    try:
        yield came
    finally:
        signal.signal(signal.SIGTERM, before)


def retrain(
    dataset: str,
    root: Path,
    *,
    now: pd.Timestamp,
    actor: str = ACTOR,
    tell: Tell = print,
    dvc: Dvc = run_dvc,
) -> Outcome:
    """Fetch, train challengers, let the gate decide, once per key.

    Args:
        root: the project's folder.
        now: the present, UTC.
        actor: who asks, for the ledger.
        tell: takes a line for people.
        dvc: runs DVC with arguments in a folder: its exit status.

    Raises:
        Busy: if another process retrains.
        ConfigError: if params.yaml is wrong.
        CarrosselError: whatever failed; the champion is as before, and what was finished is kept.
    """
    _check(dataset, load_params())
    with alone(root, LOCK, now=now):
        return _retrain(dataset, root, now=now, actor=actor, tell=tell, dvc=dvc)


def _retrain(dataset: str, root: Path, *, now: pd.Timestamp, actor: str, tell: Tell, dvc: Dvc) -> Outcome:
    from carrossel.bars.store import read_bars
    from carrossel.online import promotion
    from carrossel.online.ledger import open_ledger

    params = load_params()
    settings = read_online().retrain
    path = root / "data" / "bars" / f"{dataset}.parquet"

    def reproduce(*arguments: str) -> None:
        if status := dvc(["repro", *arguments], root):
            raise RetrainingError(
                f"`dvc repro {' '.join(arguments)}` ended with status {status}, for the reason above; the champion is as before."
            )

    # Forced, since DVC can't see that an exchange has new bars; alone, since nothing else became stale by asking.
    reproduce("--force", "--single-item", f"download@{dataset}")
    reproduce(f"prepare@{dataset}")
    bars = read_bars(path)
    last = _last_closed(bars)
    digest = sha256(path)
    key = promotion.decision_key(dataset, last, digest, revision(root))
    with open_ledger(root) as ledger:
        known = ledger.find_decision(key)
    if known is not None:
        promotion.reconcile(dataset, root=root, now=now, actor=actor)
        reason = f"nothing new since {known.time}: bars to {last:%Y-%m-%d %H:%M}, same data, same code ({known.reason})"
        tell(f"{dataset}: {reason}")
        return Outcome(dataset, key, decided=False, reason=reason)
    tell(f"{dataset}: {len(bars):,} bars to {last:%Y-%m-%d %H:%M}; training {', '.join(settings.cells)}")
    reproduce(*(f"train@{dataset}-{cell}" for cell in settings.cells))
    candidates = [root / "models" / dataset / cell for cell in settings.cells]
    if settings.warm_start:
        from carrossel.online.champion import find_champion
        from carrossel.online.warm_start import train_on

        warm = train_on(find_champion(dataset, root, expires=None, now=now), bars, digest, params, root)
        tell(f"{dataset}: {'warm start' if warm.folder else 'no warm start'}: {warm.reason}")
        candidates += [warm.folder] if warm.folder else []
    found = promotion.consider(dataset, candidates, root=root, bars=bars, key=key, actor=actor, now=now)
    tell(f"{dataset}: {'promoted' if found.promote else 'not promoted'}: {found.reason}")
    return Outcome(dataset, key, decided=found.created, reason=found.reason)


def revision(root: Path) -> str:
    """The commit; with what differs from it, a digest of what there is, since every state of a dirty tree has the same name."""
    commit = code_revision()
    if commit != "unknown" and not commit.endswith("-dirty"):
        return commit
    import carrossel

    package = Path(carrossel.__file__).parent
    files = [root / "params.yaml", root / "dvc.yaml", *sorted((root / "pipeline").glob("*.py"))]
    files += sorted(package.rglob("*.py"))
    digest = hashlib.sha256()
    for file in files:
        if file.is_file():
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return f"{commit}-{digest.hexdigest()[:16]}"


def _last_closed(bars: pd.DataFrame) -> pd.Timestamp:
    """Stamp of the newest bar that was seen: `prepare` never writes the open one."""
    last: pd.Timestamp = bars.loc[bars["status"] != "missing", "timestamp"].iloc[-1]
    return last


def _check(dataset: str, params: Mapping[str, Any]) -> None:
    """Names that lead nowhere are told before anything is fetched."""
    lookup(f"datasets.{dataset}", dict(params))
    cells = list(params.get("cells") or {})
    if lost := [cell for cell in read_online().retrain.cells if cell not in cells]:
        raise ConfigError(
            f"online.retrain.cells names {', '.join(map(repr, lost))}, which `cells` doesn't have; choose from {', '.join(cells)}."
        )


def _sentence(error: Exception) -> str:
    if isinstance(error, OSError):
        return f"{error.strerror or error}: {error.filename or 'no file named'}."
    said = " ".join(str(error).split()).removesuffix(".") + "."
    return said if isinstance(error, CarrosselError) else f"{type(error).__name__}: {said}"
