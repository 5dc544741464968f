"""What `carrossel watch` puts together."""

from __future__ import annotations

import signal
import sys
import threading
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.bars.archive import Archive
from carrossel.bars.config import Dataset, Repair
from carrossel.bars.sources.base import LiveSource, open_source
from carrossel.config import load_params, lookup, validate
from carrossel.errors import ConfigError
from carrossel.online.champion import find_champion, local_champion
from carrossel.online.database import read_online
from carrossel.online.locking import alone
from carrossel.online.predictions import PredictionStore
from carrossel.online.watching.answers import Answers
from carrossel.online.watching.lines import as_json, as_line
from carrossel.online.watching.loop import Loop
from carrossel.online.watching.retraining import Retraining
from carrossel.online.watching.tail import Tail
from carrossel.windows.question import read_question

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from carrossel.online.champion import Champion
    from carrossel.online.watching.loop import Event


def watch(dataset: str | None, root: Path, *, bars: int | None = None, json: bool = False, once: bool = False) -> int:
    """Run a dataset's loop until it is asked to stop (SIGINT, SIGTERM), after `bars` bars, after one look, or to a replay's end.

    Args:
        dataset: its name in params.yaml; the only live one if not given.
        root: the project's folder.
        json: one JSON object per event instead of lines or a screen.

    Returns:
        Bars handled.

    Raises:
        ConfigError: if params.yaml or the dataset's source won't do.
        Busy: if another process watches the dataset.
        CarrosselError: with `once`, what would be tried again otherwise.
    """
    params = load_params(root / "params.yaml")
    dataset = dataset or _only_live(params, root)
    stop = threading.Event()
    with (
        alone(root, f"watch@{dataset}", now=_now()),
        _telling(json=json) as tell,
        _stopped_by_signals(stop),
        _opened(dataset, params, root, tell) as loop,
    ):
        handled = loop.run(stop, bars=bars, once=once)
        loop.finish(wait=not stop.is_set())
        tell({"event": "end", "dataset": dataset, "reason": f"{handled} bars handled"})
    return handled


@contextmanager
def _opened(dataset: str, params: dict[str, Any], root: Path, tell: Callable[[Event], None]) -> Iterator[Loop]:
    config = validate(lookup(f"datasets.{dataset}", params), Dataset, f"datasets.{dataset}")
    source = _live(dataset, config, root)
    online = read_online()
    archive = Archive(root / "data" / "archive" / dataset, config.interval)
    tail = Tail(archive, config, validate(params.get("bars"), Repair, "bars"), dataset)
    store = PredictionStore.open(root, online.store)
    retraining = Retraining(root, dataset)
    try:
        yield Loop(
            dataset=dataset,
            source=source,
            archive=archive,
            tail=tail,
            answers=Answers(dataset, read_question(dataset, params), online.watch.state, store, tail.clockwork),
            store=store,
            retraining=retraining,
            find_champion=partial(_champion, dataset, root, online.champion.expires),
            tell=tell,
            watch=online.watch,
            drift=online.drift,
            clock=_now,
        )
    finally:
        retraining.stop()
        store.close()


def _champion(dataset: str, root: Path, expires: str | None, present: pd.Timestamp, ask: bool) -> Champion:  # noqa: FBT001 - the loop's
    return (find_champion if ask else local_champion)(dataset, root, expires=expires, now=present)


def _only_live(params: dict[str, Any], root: Path) -> str:
    datasets = lookup("datasets", params)
    live = []
    for name, section in datasets.items():
        config = validate(section, Dataset, f"datasets.{name}")
        if isinstance(open_source(config.source, root, config.interval), LiveSource):
            live.append(name)
    if len(live) == 1:
        return str(live[0])
    if live:
        raise ConfigError(f"several datasets have a live source: {', '.join(live)}. Name one: --dataset {live[0]}")
    first = next(iter(datasets))
    _live(first, validate(datasets[first], Dataset, f"datasets.{first}"), root)
    raise AssertionError  # that has raised


def _live(dataset: str, config: Dataset, root: Path) -> LiveSource:
    source = open_source(config.source, root, config.interval)
    if isinstance(source, LiveSource):
        return source
    told = ", ".join(f"{key}: {value}" for key, value in config.source.model_dump(exclude_defaults=True).items())
    raise ConfigError(
        f"datasets.{dataset}.source is of kind {config.source.kind}, to which no bar is ever added. Take a live source, or play "
        f"this one as if it were live: source: {{kind: replay, of: {{{told}}}, start: 2019-01-01T00:00:00Z}}, with the stamp of "
        "the first bar that shall come live."
    )


@contextmanager
def _telling(*, json: bool) -> Iterator[Callable[[Event], None]]:
    if json:
        yield lambda event: print(as_json(event), flush=True)
    elif sys.stdout.isatty():
        from rich.console import Console

        from carrossel.online.watching.screen import Screen

        with Screen(Console()) as screen:
            yield screen.tell
    else:
        yield _say


def _say(event: Event) -> None:
    line = as_line(event)
    if line is not None:
        print(line, flush=True)


@contextmanager
def _stopped_by_signals(stop: threading.Event) -> Iterator[None]:
    """Between two bars: a bar in hand is finished first."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {each: signal.signal(each, lambda *_: stop.set()) for each in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _now() -> pd.Timestamp:
    return pd.Timestamp.now("UTC")
