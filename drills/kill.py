"""kill -9 at random moments of `carrossel retrain --once` and `carrossel watch`: what must hold afterwards, holds.

A project of its own in a temporary folder replays embedded bitcoin as if live. Each command is killed at moments spread over
its whole run, every other time with all its children, then run again to its end. After each pair: every Parquet file is
whole, the registry has one version per key, the ledger one decision per key and aliases as its last decision says, and every
bar that was watched has exactly one prediction, stored before its truth, and one score after.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pandas as pd
import pyarrow.parquet as pq
import yaml

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).resolve().parents[1]
DATASET = "drill"
CHANGES: dict[str, Any] = {
    "datasets": {
        DATASET: {
            "source": {"kind": "replay", "of": {"kind": "sample", "name": "bitcoin"}, "start": "2017-11-15T00:00:00Z"},
            "calendar": "24/7",
            "interval": "1h",
            "target": {"kind": "volatility"},
        }
    },
    "cells": {"gru": {"hidden_size": 4}},
    "baselines": {"drift": {}},
}
MERGED: dict[str, dict[str, Any]] = {
    "windows": {"lookback": 8, "features": ["log_variance", "log_range"]},
    "training": {"epochs": 2, "learning_rate": 0.02},
    "tuning": {"cell": "gru", "trials": 1, "epochs": 1},
    "walk_forward": {"models": ["gru"]},
    "online": {"retrain": {"cells": ["gru"], "warm_start": True}, "gate": {"rows": 100, "slack": 0.1}},
}
RETRAIN = ("retrain", "--once", "--dataset", DATASET)
WATCH = ("watch", "--dataset", DATASET, "--json", "--bars")
LONGEST_SECONDS = 300


def make_project(folder: Path) -> None:
    """The pipeline with one small question that a small network answers better than persistence."""
    for name in ("pipeline", "src"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    for name in ("dvc.yaml", ".gitignore", ".dvcignore"):
        shutil.copy(ROOT / name, folder)
    (folder / "data" / "incoming").mkdir(parents=True)
    (folder / "data" / "incoming" / "README.md").write_text("Own files go here.\n", encoding="utf-8")
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8")) | CHANGES
    for section, values in MERGED.items():
        params[section] = {**params[section], **values}
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")
    identity = ["-c", "user.name=drill", "-c", "user.email=drill@localhost"]
    for command in (
        ["git", "init", "-q"],
        [sys.executable, "-m", "dvc", "init", "-q"],
        ["git", "add", "-A"],
        ["git", *identity, "commit", "-q", "-m", "drill"],
    ):
        subprocess.run(command, cwd=folder, check=True, env=environment(folder), stdout=subprocess.DEVNULL)


def environment(root: Path) -> dict[str, str]:
    """No server, no database but the project's own."""
    outside = {"MLFLOW_TRACKING_URI", "CARROSSEL_STORE", "CARROSSEL_TRACKING_ROOT"}
    kept = {name: value for name, value in os.environ.items() if name not in outside}
    return kept | {"CARROSSEL_ROOT": str(root), "PYTHONUNBUFFERED": "1"}


class Ended(RuntimeError):
    """A command that should have run to its end didn't."""


class Run(NamedTuple):
    """How a command ended."""

    seconds: float
    killed: bool


def run(arguments: Sequence[str], root: Path, kill_after: float | None = None, *, children: bool = False) -> Run:
    """Run a command to its end, or kill it.

    Args:
        kill_after: seconds.
        children: kill what it started too.

    Raises:
        Ended: if it wasn't killed and didn't end with 0.
    """
    began = time.monotonic()
    killed = False
    with (root / "output.txt").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "carrossel", *arguments],
            cwd=root,
            env=environment(root),
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status = process.wait(LONGEST_SECONDS if kill_after is None else kill_after)
        except subprocess.TimeoutExpired:
            killed = True
            with suppress(ProcessLookupError):
                (os.killpg if children or kill_after is None else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
            if kill_after is None:
                raise Ended(f"{' '.join(arguments)} didn't end in {LONGEST_SECONDS} s") from None
        else:
            if status:
                tail = (root / "output.txt").read_text(encoding="utf-8", errors="replace")[-2000:]
                raise Ended(f"{' '.join(arguments)} ended with {status}:\n{tail}")
    return Run(time.monotonic() - began, killed)


def inspect_files(root: Path) -> list[str]:
    """Parquet files that aren't whole."""
    broken = []
    for file in sorted((root / "data").rglob("*.parquet")):
        # what a killed process was writing under a temporary name, a file or a folder
        if any(part.startswith(".") for part in file.relative_to(root).parts):
            continue
        try:
            pq.read_table(file)
        except (OSError, ValueError) as error:
            broken.append(f"{file.relative_to(root)} is broken: {error}")
    return broken


def inspect_registry(root: Path) -> list[str]:
    """Keys with two versions or decisions, and aliases that aren't what the ledger says."""
    from carrossel.online.ledger import APPLIED, DECIDED, open_ledger
    from carrossel.tracking.mlflow_recorder import KEY_TAG
    from carrossel.tracking.registry import model_name, read_aliases
    from carrossel.tracking.store import open_tracking

    os.environ["CARROSSEL_ROOT"] = str(root)
    store = open_tracking(root=root)
    name = model_name(DATASET)
    versions = store.client.search_model_versions(f"name = '{name}'")
    twice = [key for key, count in Counter(version.tags.get(KEY_TAG) for version in versions).items() if count > 1]
    found = [f"{key} has {len(twice)} versions" for key in twice]
    with open_ledger(root) as ledger:
        entries = ledger.entries(DATASET)
    keys = Counter(entry.key for entry in entries if entry.event == DECIDED)
    found += [f"{key} was decided {count} times" for key, count in keys.items() if count > 1]
    applied = [entry for entry in entries if entry.event == APPLIED]
    if len(applied) != len(keys):
        found.append(f"{len(keys)} decisions, {len(applied)} applied")
    with open_ledger(root) as ledger:
        state, _ = ledger.find_state(DATASET)
    said = (state.aliases if state else None) or {}
    held = read_aliases(store, name) if versions else {}
    if held != said:
        found.append(f"the ledger says {said}, the registry {held}")
    return found


def count_promotions(root: Path) -> int:
    """Challengers that became champion: without any, no alias was ever moved and little was tried."""
    from carrossel.online.ledger import DECIDED, open_ledger

    with open_ledger(root) as ledger:
        return sum(entry.event == DECIDED and entry.verdict == "promoted" for entry in ledger.entries(DATASET))


def inspect_predictions(root: Path) -> list[str]:
    """Bars without exactly one prediction before and one score after."""
    from carrossel.online.predictions import PredictionStore

    rows = PredictionStore.open(root).rows(DATASET)
    if rows.empty:
        return []
    origins = pd.DatetimeIndex(rows["origin"])
    found = [f"{int(origins.duplicated().sum())} bars have two predictions"] if origins.has_duplicates else []
    if lost := len(pd.date_range(origins[0], origins[-1], freq="1h").difference(origins)):
        found.append(f"{lost} bars have no prediction")
    if late := int((rows["late"] | (rows["made_at"] >= rows["time"] + pd.Timedelta(1, "h"))).sum()):
        found.append(f"{late} predictions came after their truth")
    due = rows["time"] <= origins[-1]
    if lacking := int(rows.loc[due, "truth"].isna().sum()):
        found.append(f"{lacking} predictions have no score")
    if early := int((rows["scored_at"] < rows["time"]).sum()):
        found.append(f"{early} scores came before their truth")
    return found


def drill(
    victim: str, arguments: Sequence[str], root: Path, kills: int, draw: random.Random, usual: float | None
) -> tuple[int, int]:
    """Kill, run again, look: number of kills and of faults.

    Args:
        usual: seconds within which to kill; as long as an undisturbed run takes if not given.
    """
    if usual is None:
        run(arguments, root)  # the first has no champion to compare with
        usual = run(arguments, root).seconds
        print(f"{victim}: undisturbed {usual:.1f} s", flush=True)
    killed = faults = 0
    for number in range(kills):
        moment = usual * (number + draw.random()) / kills
        children = bool(number % 2)
        first = run(arguments, root, moment, children=children)
        killed += first.killed
        broken = inspect_files(root)
        try:
            run(arguments, root)
        except Ended as error:
            broken.append(str(error))
        broken += inspect_files(root) + inspect_registry(root) + inspect_predictions(root)
        who = ("it and its children" if children else "it alone") if first.killed else "nothing, it had ended"
        print(
            f"{victim} {number + 1:>3}/{kills}  killed {who:21} after {moment:5.1f} s  {'; '.join(broken) or 'whole'}",
            flush=True,
        )
        faults += len(broken)
    return killed, faults


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few kills, under 50 s")
    parser.add_argument("--kills", type=int, default=30, help="of each command")
    parser.add_argument("--seed", type=int, default=1, help="of the moments")
    parser.add_argument("--keep", type=Path, help="make the project here and leave it there")
    options = parser.parse_args()
    draw = random.Random(options.seed)  # noqa: S311 - moments, not secrets
    kills = 1 if options.quick else options.kills
    with tempfile.TemporaryDirectory(prefix="carrossel-drill-", ignore_cleanup_errors=True) as temporary:
        root = options.keep or Path(temporary)
        root.mkdir(parents=True, exist_ok=True)
        make_project(root)
        watched = drill("watch", [*WATCH, "40"], root, kills, draw, 6.0 if options.quick else None)
        retrained = drill("retrain", RETRAIN, root, kills, draw, 8.0 if options.quick else None)
        promotions = count_promotions(root)
    print(f"promotions: {promotions} (at least 1)")
    killed, faults = watched[0] + retrained[0], watched[1] + retrained[1]
    print(f"kill: {faults} faults after {killed} kills (0)")
    return int(faults > 0 or not promotions)


if __name__ == "__main__":
    sys.exit(main())
