from __future__ import annotations

import json
import runpy
import shutil
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from carrossel.bars.store import write_bars
from carrossel.cli import app
from carrossel.errors import ChampionError, TrackingError
from carrossel.forecaster.stored import load
from carrossel.online.champion import find_champion
from carrossel.online.gate import Verdict
from carrossel.online.ledger import (
    APPLIED,
    DECIDED,
    EXPIRED,
    FORGOTTEN,
    FOUND,
    MOVED_OUTSIDE,
    ROLLED_BACK,
    Ledger,
    open_ledger,
)
from carrossel.online.promotion import complete, consider, decision_key, forget, reconcile, rollback
from carrossel.tracking.mlflow_recorder import KEY_TAG, find_experiment
from carrossel.tracking.models import FILES_PATH, MODEL_FILES
from carrossel.tracking.registry import CHALLENGER, CHAMPION, PREVIOUS, delete_version, model_name, read_aliases
from carrossel.tracking.relog import Logged, find_run, model_key
from champions import TEST, write_evaluation, write_model

if TYPE_CHECKING:
    from collections.abc import Callable

    from mlflow import MlflowClient

    from carrossel.tracking.store import Store

NOW = pd.Timestamp("2026-01-02", tz="UTC")
STAGE = Path(__file__).parents[2] / "pipeline" / "register.py"
pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*type hint:UserWarning"),
]


@pytest.fixture(autouse=True)
def _bare_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs with a key and no more, models with their files and no code: the rest takes the time and isn't looked at here."""

    def sync_folder(store: Store, folder: Path) -> Logged:
        dataset, key = folder.parent.name, model_key(folder)
        run_id = find_run(store, dataset, key)
        if created := run_id is None:
            experiment = str(find_experiment(store, dataset, create=True))
            run_id = store.client.create_run(experiment, tags={KEY_TAG: key}).info.run_id
            store.client.set_terminated(run_id)
        return Logged(dataset, folder.name, key, run_id, created=created)

    def log_model(client: MlflowClient, run_id: str, folder: Path) -> str:
        logged = client.create_logged_model(client.get_run(run_id).info.experiment_id, source_run_id=run_id)
        files = Path(urlsplit(logged.artifact_location).path) / FILES_PATH
        files.mkdir(parents=True)
        for name in MODEL_FILES:
            shutil.copyfile(folder / name, files / name)
        return str(logged.model_id)

    monkeypatch.setattr("carrossel.tracking.relog.sync_folder", sync_folder)
    monkeypatch.setattr("carrossel.tracking.registry.sync_folder", sync_folder)
    monkeypatch.setattr("carrossel.tracking.registry.log_model", log_model)


@pytest.fixture
def convinced(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every candidate beats persistence, without the bootstrap that says so."""
    found = Verdict("beats persistence", 0.1, 0.001, 1)
    monkeypatch.setattr("carrossel.online.promotion.judge_candidates", lambda rows, _: dict.fromkeys(rows, found))


class Trial:
    """A dataset of its own in the store of all tests."""

    def __init__(self, dataset: str, store: Store, bars: pd.DataFrame) -> None:
        self.dataset, self.store, self.bars, self.root = dataset, store, bars, store.root

    def model(self, name: str, share: float, **manifest: Any) -> Path:
        return write_model(self.root / "models" / self.dataset / name, share, self.bars, **manifest)

    def consider(self, *folders: Path, key: str | None = None, now: pd.Timestamp = NOW) -> Any:
        return consider(
            self.dataset,
            folders,
            root=self.root,
            bars=self.bars,
            key=key or f"{self.dataset} {folders[0].name}",
            actor="test",
            now=now,
            store=self.store,
        )

    def serves(self) -> pd.DataFrame:
        found = find_champion(self.dataset, self.root, expires=None, now=NOW, store=self.store)
        assert found.folder is not None
        return load(found.folder).predict(self.bars)

    @property
    def aliases(self) -> dict[str, str]:
        return read_aliases(self.store, model_name(self.dataset))

    def events(self) -> list[str]:
        with open_ledger(self.root) as ledger:
            return [entry.event for entry in ledger.entries(self.dataset)]

    def versions(self, folder: Path) -> list[str]:
        found = self.store.client.search_model_versions(f"name = '{model_name(self.dataset)}'")
        return [str(one.version) for one in found if one.tags["carrossel.key"] == model_key(folder)]


@pytest.fixture
def trial(request: pytest.FixtureRequest, registry: Store, bars: pd.DataFrame) -> Trial:
    return Trial(request.node.name.removeprefix("test_")[:60], registry, bars)


def test_a_planted_better_challenger_is_promoted_and_a_planted_worse_one_is_not(trial: Trial) -> None:
    first = trial.consider(trial.model("weak", 0.1))
    assert (first.promote, first.aliases) == (True, {CHAMPION: "1"})
    better = trial.consider(trial.model("strong", 0.3))
    assert (better.promote, better.aliases) == (True, {CHAMPION: "2", PREVIOUS: "1"})
    worse = trial.consider(trial.model("worse", 0.15))
    assert (worse.promote, worse.aliases) == (False, {CHAMPION: "2", PREVIOUS: "1", CHALLENGER: "3"})
    # it beats persistence, and isn't refused for that
    assert worse.decision.conditions[0].passed
    assert "worse is not promoted: its loss on bars unseen by both is" in worse.reason
    assert trial.aliases == worse.aliases
    assert trial.events() == [DECIDED, APPLIED] * 3


@pytest.mark.usefixtures("convinced")
def test_the_champion_is_asked_again_and_says_what_it_said_when_it_was_trained(trial: Trial) -> None:
    weak = trial.model("weak", 0.1)
    trial.consider(weak)
    figures = trial.consider(trial.model("strong", 0.3)).decision.figures
    stored = pd.read_parquet(weak / "forecasts.parquet")
    test = stored[stored["split"] == "test"]
    assert figures["rows"] == len(test) == 399
    # forecasts are float32 in the network: 24 bits
    assert figures["champion_loss"] == pytest.approx(((test["truth"] - test["forecast"]) ** 2).mean(), rel=1e-6)


def test_of_several_candidates_the_best_by_validation_goes_to_the_gate_and_all_count_as_tried(trial: Trial) -> None:
    found = trial.consider(trial.model("a", 0.1), trial.model("b", 0.25), trial.model("c", -0.1))
    assert (found.competitor, found.decision.figures["tried"]) == ("b", 3)
    assert trial.versions(trial.root / "models" / trial.dataset / "a") == []


@pytest.mark.usefixtures("convinced")
def test_the_same_key_is_decided_once_whatever_the_candidate(trial: Trial) -> None:
    first = trial.consider(trial.model("weak", 0.1), key="same")
    again = trial.consider(trial.model("strong", 0.3), key="same")
    assert (first.created, again.created) == (True, False)
    assert again.entry == first.entry
    assert trial.aliases == {CHAMPION: "1"}
    assert trial.events() == [DECIDED, APPLIED]


def test_a_key_names_dataset_bar_data_and_code() -> None:
    key = decision_key("d", NOW, "abc", "rev")
    others = [("e", NOW, "abc", "rev"), ("d", NOW + pd.Timedelta("1h"), "abc", "rev"), ("d", NOW, "x", "rev")]
    assert len({key, decision_key("d", NOW, "abc", "x"), *(decision_key(*one) for one in others)}) == 5


@pytest.mark.usefixtures("convinced")
def test_rollback_restores_the_old_forecasts_exactly_and_can_be_undone(trial: Trial) -> None:
    trial.consider(trial.model("weak", 0.1))
    before = trial.serves()
    trial.consider(trial.model("strong", 0.3))
    after = trial.serves()
    assert not before["forecast"].equals(after["forecast"])
    back = rollback(trial.dataset, reason="too bold", now=NOW, store=trial.store)
    assert back.aliases == trial.aliases == {CHAMPION: "1", PREVIOUS: "2"}
    assert back.reason == "version 1 serves again in place of version 2: too bold"
    pd.testing.assert_frame_equal(trial.serves(), before, check_exact=True)
    rollback(trial.dataset, now=NOW, store=trial.store)
    pd.testing.assert_frame_equal(trial.serves(), after, check_exact=True)
    assert trial.events()[-4:] == [ROLLED_BACK, APPLIED] * 2


@pytest.mark.usefixtures("convinced")
def test_a_rollback_outlasts_other_code_that_leads_to_the_same_model(trial: Trial) -> None:
    trial.consider(trial.model("weak", 0.1))
    strong = trial.model("strong", 0.3)
    promoted = trial.consider(strong, key="one revision")
    back = rollback(trial.dataset, now=NOW, store=trial.store)
    again = trial.consider(strong, key="another revision")
    assert (again.promote, again.created, again.entry.verdict) == (False, True, "kept")
    assert again.reason == (
        f"strong, version 2, was decided on before (entry {promoted.entry.id}): nobody's alias is moved."
    )
    assert again.aliases == trial.aliases == back.aliases
    assert not trial.consider(strong, key="another revision").created


@pytest.mark.usefixtures("convinced")
def test_every_earlier_decision_on_bars_that_judge_again_corrects_the_verdict(trial: Trial, bars: pd.DataFrame) -> None:
    older = trial.model("older", -0.5)
    manifest = json.loads((older / "manifest.json").read_text())
    manifest["bars"]["last"] = f"{bars['timestamp'][TEST - 1]}"  # before the test part of the others
    (older / "manifest.json").write_text(json.dumps(manifest))
    trial.consider(older)
    first = trial.model("first", 0.0)
    trial.consider(first, key="first")
    trial.consider(first, key="again")  # kept: nobody looked at the bars
    trial.consider(trial.model("second", -0.2))
    figures = trial.consider(trial.model("third", 0.3)).decision.figures
    assert figures["decisions_before"] == 2
    assert figures["p_corrected"] == pytest.approx(3 * 0.001)


@pytest.mark.usefixtures("convinced")
def test_nothing_to_roll_back_to_is_an_error_that_changes_nothing(trial: Trial) -> None:
    trial.consider(trial.model("weak", 0.1))
    with pytest.raises(ChampionError, match="no version served before version 1"):
        rollback(trial.dataset, now=NOW, store=trial.store)
    assert trial.aliases == {CHAMPION: "1"}


@pytest.mark.usefixtures("convinced")
def test_versions_that_serve_or_served_before_are_not_deleted(trial: Trial) -> None:
    trial.consider(trial.model("weak", 0.1))
    trial.consider(trial.model("strong", 0.3))
    for version, alias in (("1", PREVIOUS), ("2", CHAMPION)):
        with pytest.raises(TrackingError, match=f"version {version} is {alias}: not deleted"):
            delete_version(trial.store, model_name(trial.dataset), version)


@pytest.mark.usefixtures("convinced")
def test_only_a_version_without_a_part_is_forgotten_and_the_ledger_keeps_that(trial: Trial) -> None:
    for name, share in (("a", -0.1), ("b", 0.1), ("c", 0.3)):
        trial.consider(trial.model(name, share))
    for version, alias in (("2", PREVIOUS), ("3", CHAMPION)):
        with pytest.raises(TrackingError, match=f"version {version} is {alias}: not deleted"):
            forget(trial.dataset, version, now=NOW, store=trial.store)
    with pytest.raises(ChampionError, match="has no version '9'"):
        forget(trial.dataset, "9", now=NOW, store=trial.store)
    assert FORGOTTEN not in trial.events()
    assert forget(trial.dataset, "1", reason="too old", now=NOW, store=trial.store) == "version 1 is forgotten: too old"
    assert trial.events()[-1] == FORGOTTEN
    assert trial.versions(trial.root / "models" / trial.dataset / "a") == []
    assert trial.aliases == {CHAMPION: "3", PREVIOUS: "2"}
    # registered again it is the same model, and was decided on
    again = trial.consider(trial.root / "models" / trial.dataset / "a", key="again")
    assert (again.entry.verdict, again.aliases) == ("kept", trial.aliases)


@pytest.mark.usefixtures("convinced")
def test_a_version_that_the_ledger_wants_an_alias_on_is_not_forgotten(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.consider(trial.model("weak", 0.1))
    with monkeypatch.context() as patch:
        kill_at(3, patch)  # run, version and decision are there, no alias is moved
        with pytest.raises(Killed):
            trial.consider(trial.model("strong", 0.3))
    with pytest.raises(ChampionError, match="version 2 shall be champion by the ledger: not deleted"):
        forget(trial.dataset, "2", now=NOW, store=trial.store)
    assert reconcile(trial.dataset, now=NOW, store=trial.store) == {CHAMPION: "2", PREVIOUS: "1"}


@pytest.mark.usefixtures("convinced")
def test_forgetting_killed_half_way_is_done_by_the_next_call_and_told_once(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, share in (("a", -0.1), ("b", 0.1), ("c", 0.3)):
        trial.consider(trial.model(name, share))

    def die(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr("carrossel.tracking.registry.delete_version", die)
        with pytest.raises(Killed):
            forget(trial.dataset, "1", now=NOW, store=trial.store)
    forget(trial.dataset, "1", now=NOW, store=trial.store)
    assert trial.events().count(FORGOTTEN) == 1
    assert trial.versions(trial.root / "models" / trial.dataset / "a") == []


class Killed(BaseException):
    """As kill -9: nothing of ours catches it."""


def kill_at(step: int, monkeypatch: pytest.MonkeyPatch) -> Callable[[], bool]:
    """Die before the effect of that number, which is after the one before; the returned function says whether it did."""
    from mlflow import MlflowClient

    passed, died = [0], [False]

    def dying(effect: Callable[..., Any]) -> Callable[..., Any]:
        def run(*arguments: Any, **keywords: Any) -> Any:
            passed[0] += 1
            if passed[0] == step + 1:
                died[0] = True
                raise Killed
            return effect(*arguments, **keywords)

        return run

    for owner, name in (
        (MlflowClient, "create_run"),
        (MlflowClient, "create_model_version"),
        (MlflowClient, "set_registered_model_alias"),
        (MlflowClient, "delete_registered_model_alias"),
        (Ledger, "append"),
    ):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    return lambda: died[0]


@pytest.mark.usefixtures("convinced")
def test_killed_at_any_step_a_promotion_is_finished_by_the_next_run(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.consider(trial.model("first", -1.7))
    survived = step = 0
    while not survived:
        folder = trial.model(f"challenger{step}", -1.5 + 0.2 * step)  # nearer to the truth, 0.3, than the champion
        with monkeypatch.context() as patch:
            died = kill_at(step, patch)
            with suppress(Killed):
                trial.consider(folder)
            survived = not died()
        repaired = reconcile(trial.dataset, now=NOW, store=trial.store)
        with open_ledger(trial.root) as ledger:
            state, applied = ledger.find_state(trial.dataset)
        assert applied
        assert state is not None
        assert repaired == trial.aliases == state.aliases
        outcome = trial.consider(folder)
        assert outcome.promote
        assert trial.versions(folder) == [outcome.version] == [trial.aliases[CHAMPION]]
        step += 1
    assert step == 7  # before run, version, decision, two aliases and `applied`; then one that lives
    with open_ledger(trial.root) as ledger:
        entries = ledger.entries(trial.dataset)
    decided = [entry for entry in entries if entry.event == DECIDED]
    assert len({entry.key for entry in decided}) == len(decided) == step + 1
    assert sorted(entry.entry for entry in entries if entry.event == APPLIED) == [entry.id for entry in decided]
    assert {entry.event for entry in entries} == {DECIDED, APPLIED}


@pytest.mark.usefixtures("convinced")
def test_killed_at_any_step_a_rollback_is_finished_or_never_was(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    trial.consider(trial.model("weak", 0.1))
    trial.consider(trial.model("strong", 0.3))
    trial.consider(trial.model("worse", 0.1, training={"seed": 2}))
    for step in range(4):  # before the entry, two aliases and `applied`
        before = trial.aliases
        with monkeypatch.context() as patch:
            kill_at(step, patch)
            with pytest.raises(Killed):
                rollback(trial.dataset, now=NOW, store=trial.store)
        after = reconcile(trial.dataset, now=NOW, store=trial.store)
        assert after == trial.aliases
        turned = {**before, CHAMPION: before[PREVIOUS], PREVIOUS: before[CHAMPION]}
        assert after == (before if step == 0 else turned)
    assert MOVED_OUTSIDE not in trial.events()


@pytest.mark.usefixtures("convinced")
def test_two_that_ask_at_once_decide_once(trial: Trial) -> None:
    from concurrent.futures import ThreadPoolExecutor

    folder = trial.model("weak", 0.1)
    with ThreadPoolExecutor(2) as pool:
        outcomes = list(pool.map(lambda _: trial.consider(folder), range(2)))
    assert sorted(outcome.created for outcome in outcomes) == [False, True]
    assert trial.versions(folder) == ["1"]
    assert trial.events() == [DECIDED, APPLIED]


@pytest.mark.usefixtures("convinced")
def test_an_alias_moved_by_hand_is_written_down_and_stays(trial: Trial) -> None:
    trial.consider(trial.model("weak", 0.1))
    trial.consider(trial.model("strong", 0.3))
    trial.store.client.set_registered_model_alias(model_name(trial.dataset), CHAMPION, "1")
    assert reconcile(trial.dataset, now=NOW, store=trial.store)[CHAMPION] == "1"
    assert reconcile(trial.dataset, now=NOW, store=trial.store)[CHAMPION] == "1"
    assert trial.events().count(MOVED_OUTSIDE) == 1
    # the next decision compares with whom the hand has chosen
    assert trial.consider(trial.model("other", 0.3, training={"seed": 9})).entry.version_from == "1"


@pytest.mark.usefixtures("convinced")
def test_a_hand_between_decision_and_aliases_wins(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, share in (("a", -0.3), ("b", 0.0), ("c", 0.3)):
        trial.consider(trial.model(name, share))
    with monkeypatch.context() as patch:
        kill_at(1, patch)  # decided, not applied
        with pytest.raises(Killed):
            rollback(trial.dataset, now=NOW, store=trial.store)
    trial.store.client.set_registered_model_alias(model_name(trial.dataset), CHAMPION, "1")
    assert reconcile(trial.dataset, now=NOW, store=trial.store)[CHAMPION] == "1"
    assert trial.events()[-2:] == [ROLLED_BACK, MOVED_OUTSIDE]


@pytest.mark.usefixtures("convinced")
def test_aliases_from_before_the_ledger_are_taken_over(trial: Trial) -> None:
    weak = trial.model("weak", 0.1)
    from carrossel.tracking.registry import register

    old = register(trial.store, trial.dataset, weak, "as it was done before")
    trial.store.client.set_registered_model_alias(model_name(trial.dataset), CHAMPION, old.version)
    write_evaluation(trial.root, trial.dataset, weak=0.05)
    outcome = complete(trial.dataset, root=trial.root, store=trial.store, now=NOW)
    assert (outcome.created, outcome.reason) == (False, f"weak, version 1, is {trial.dataset}'s champion already.")
    assert trial.events() == [FOUND]
    assert trial.consider(trial.model("strong", 0.3)).aliases == {CHAMPION: "2", PREVIOUS: "1"}


@pytest.mark.usefixtures("convinced")
def test_a_champion_of_another_question_is_not_compared_and_the_decision_says_so(trial: Trial) -> None:
    trial.consider(trial.model("volatility", 0.3, unit="log_variance"))
    outcome = trial.consider(trial.model("prices", 0.1))
    assert outcome.promote
    assert "answers another question and wasn't compared" in outcome.reason


@pytest.mark.usefixtures("convinced")
def test_a_champion_too_old_to_serve_is_compared_all_the_same_and_its_end_is_written_down_once(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial.consider(trial.model("strong", 0.3))
    (tmp_path / "params.yaml").write_text(yaml.safe_dump({"online": {"champion": {"expires": "30d"}}}))
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.setenv("CARROSSEL_TRACKING_ROOT", str(trial.root))
    reconcile(trial.dataset, root=trial.root, now=NOW, store=trial.store)
    outcome = trial.consider(trial.model("weak", 0.1))
    assert not outcome.promote
    assert "version 1 (strong)'s" in outcome.reason
    assert trial.events()[:3] == [DECIDED, APPLIED, EXPIRED]
    assert trial.events().count(EXPIRED) == 1


@pytest.fixture
def registered(trial: Trial) -> Trial:
    folder = trial.root / "data" / "bars"
    folder.mkdir(parents=True, exist_ok=True)
    write_bars(folder / f"{trial.dataset}.parquet", trial.bars)
    trial.model("weak", 0.1)
    write_evaluation(trial.root, trial.dataset, weak=0.05)
    complete(trial.dataset, root=trial.root, store=trial.store, now=NOW)
    return trial


@pytest.mark.usefixtures("convinced")
def test_a_model_is_decided_on_once_and_a_rollback_lasts(registered: Trial) -> None:
    trial = registered
    trial.model("strong", 0.3)
    write_evaluation(trial.root, trial.dataset, weak=0.05, strong=0.1)
    second = complete(trial.dataset, root=trial.root, store=trial.store, now=NOW)
    assert (second.promote, second.created, second.aliases) == (True, True, {CHAMPION: "2", PREVIOUS: "1"})
    noted = json.loads((trial.root / ".carrossel" / "registry" / f"{trial.dataset}.json").read_text())
    assert (noted["version"], noted["alias"]) == ("2", CHAMPION)
    rollback(trial.dataset, now=NOW, store=trial.store)
    third = complete(trial.dataset, root=trial.root, store=trial.store, now=NOW)
    assert not third.created
    assert trial.aliases == {CHAMPION: "1", PREVIOUS: "2"}


@pytest.mark.usefixtures("convinced")
def test_the_stage_writes_what_a_model_deserves_with_and_without_a_server(
    registered: Trial, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    trial = registered
    trial.model("worse", -0.1)
    write_evaluation(trial.root, trial.dataset, weak=0.05, worse=0.1)  # the evaluation calls it better
    stage = runpy.run_path(str(STAGE))["register"]
    file = trial.root / "reports" / "registered" / f"{trial.dataset}.json"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    stage(trial.dataset)
    said = capsys.readouterr().err
    assert f"{trial.dataset}: registration is pending: tracking server http://127.0.0.1:9" in said
    assert said.count("\n") == 1
    without = file.read_bytes()
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    # what was pending is done later
    tracked = CliRunner().invoke(app, ["track"])
    assert f"{trial.dataset}: worse is not promoted" in tracked.output
    assert trial.aliases == {CHAMPION: "1", CHALLENGER: "2"}
    stage(trial.dataset)
    assert file.read_bytes() == without
    assert json.loads(without)["alias"] == "champion"  # deserved by its verdict; the gate has compared, and refused
    file.unlink()


@pytest.mark.usefixtures("convinced")
def test_rollback_as_a_command(registered: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trial = registered
    trial.consider(trial.model("strong", 0.3))
    (tmp_path / "params.yaml").write_text(f"datasets: {{{trial.dataset}: {{}}}}\n")
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path))
    monkeypatch.setenv("CARROSSEL_TRACKING_ROOT", str(trial.root))
    done = CliRunner().invoke(app, ["rollback", trial.dataset, "--reason", "a drill"])
    assert done.output == f"{trial.dataset}: version 1 serves again in place of version 2: a drill\n"
    assert trial.aliases[CHAMPION] == "1"
    unknown = CliRunner().invoke(app, ["rollback", "nobody"])
    assert (unknown.exit_code, unknown.output.count("\n")) == (1, 1)
    refused = CliRunner().invoke(app, ["forget", trial.dataset, "1"])
    assert (refused.exit_code, refused.output.count("\n")) == (1, 1)
    assert "version 1 is champion: not deleted" in refused.output
    for name, share in (("third", -0.9), ("fourth", -0.5)):  # the one tried last is the challenger
        trial.consider(trial.model(name, share))
    forgotten = CliRunner().invoke(app, ["forget", trial.dataset, "3"])
    assert (forgotten.exit_code, forgotten.output) == (0, f"{trial.dataset}: version 3 is forgotten.\n")
