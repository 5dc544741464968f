from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carrossel.errors import ModelError, TrackingError
from carrossel.tracking.registry import choose, complete_registration, delete_version, read_choice
from carrossel.tracking.relog import model_key, sync
from carrossel.tracking.reports import sync_reports

if TYPE_CHECKING:
    from collections.abc import Callable

    from carrossel.tracking.store import Store

STAGE = Path(__file__).parents[2] / "pipeline" / "register.py"
MODEL = "carrossel-bitcoin"
REASON = (
    "lstm is best by validation (skill +0.2000); on test its skill is +0.1000, p = 0.001, "
    "verdict 'beats persistence': champion."
)

pytestmark = pytest.mark.usefixtures("plain_figures")


@pytest.fixture
def evaluate(tmp_path: Path, make_evaluation: Callable[..., Any]) -> Callable[..., None]:
    def write(**skills: tuple[float, float]) -> None:
        file = tmp_path / "reports" / "evaluation" / "bitcoin.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(make_evaluation(**skills)))

    return write


def test_the_best_by_validation_is_chosen_even_if_another_is_better_on_test(
    make_evaluation: Callable[..., Any],
) -> None:
    choice = choose(make_evaluation(lstm=(0.2, 0.1), gru=(0.1, 0.3)), {"lstm", "gru"})
    assert (choice.competitor, choice.alias) == ("lstm", "champion")
    assert choice.reason == REASON


def test_a_model_that_does_not_beat_persistence_on_test_is_a_challenger(make_evaluation: Callable[..., Any]) -> None:
    choice = choose(make_evaluation(lstm=(0.2, 0.0)), {"lstm"})
    assert choice.alias == "challenger"
    assert choice.reason.endswith("its skill is +0.0000, p = 0.5, verdict 'no evidence of skill': challenger.")


@pytest.mark.parametrize(
    ("verdict", "alias"),
    [
        ("beats persistence", "champion"),
        ("no evidence of skill", "challenger"),
        ("echo", "challenger"),
        ("suspiciously good: check for leakage", "challenger"),
    ],
)
def test_the_verdict_decides_not_the_skill(make_evaluation: Callable[..., Any], verdict: str, alias: str) -> None:
    evaluation = make_evaluation(lstm=(0.2, 0.1), gru=(0.1, 0.3))
    evaluation["judgements"]["lstm"] = {"verdict": verdict, "p_corrected": 0.0123}
    choice = choose(evaluation, {"lstm", "gru"})
    assert (choice.competitor, choice.alias) == ("lstm", alias)
    assert f"p = 0.012, verdict '{verdict}': {alias}." in choice.reason


def test_baselines_are_no_candidates(make_evaluation: Callable[..., Any]) -> None:
    assert choose(make_evaluation(lstm=(-0.2, -0.1)), {"lstm"}).competitor == "lstm"


def test_a_baselines_folder_is_never_registered_however_good_it_is(
    store: Store,
    model_folder: Path,
    make_baseline_folder: Callable[..., Path],
    evaluate: Callable[..., None],
    tmp_path: Path,
) -> None:
    make_baseline_folder("har")
    evaluate(lstm=(0.2, 0.1), har=(0.5, 0.4))
    assert read_choice("bitcoin", tmp_path).competitor == "lstm"
    version = complete_registration("bitcoin", root=tmp_path, store=store)
    tags = store.client.get_model_version(MODEL, version.version).tags
    assert tags["carrossel.key"] == model_key(model_folder)
    # it has a run with the evaluation nevertheless
    runs = {run.competitor: run for run in sync(tmp_path / "models", store=store)}
    assert not runs["har"].created
    assert store.client.get_run(runs["har"].run_id).data.metrics["test/skill"] == 0.4


def test_baselines_alone_register_nothing(
    make_baseline_folder: Callable[..., Path], evaluate: Callable[..., None], tmp_path: Path
) -> None:
    make_baseline_folder("har")
    evaluate(har=(0.5, 0.4))
    with pytest.raises(ModelError, match="no trained model has a skill on validation and test; models: none"):
        read_choice("bitcoin", tmp_path)


def test_no_candidate_is_an_error_that_says_what_to_run(make_evaluation: Callable[..., Any]) -> None:
    with pytest.raises(ModelError, match=r"models: gru. Run: dvc repro evaluate@bitcoin"):
        choose(make_evaluation(lstm=(0.2, 0.1)), {"gru"})


def test_registering_makes_a_version_with_alias_tags_and_reason(
    store: Store, model_folder: Path, evaluate: Callable[..., None], tmp_path: Path
) -> None:
    evaluate(lstm=(0.2, 0.1))
    version = complete_registration("bitcoin", root=tmp_path, store=store)
    found = store.client.get_model_version_by_alias(MODEL, "champion")
    assert (str(found.version), found.run_id) == (version.version, version.run_id)
    assert found.tags["carrossel.key"] == model_key(model_folder)
    assert found.tags["data_sha256"] == "d" * 64
    assert found.tags["git_commit"] == "0123abc-dirty"
    assert (found.tags["dataset"], found.tags["cell"]) == ("bitcoin", "lstm")
    assert "beats persistence" in found.tags["reason"]
    assert store.client.get_run(version.run_id).data.metrics["test/skill"] == 0.1


def test_the_same_model_is_registered_once(
    store: Store, model_folder: Path, evaluate: Callable[..., None], tmp_path: Path
) -> None:
    evaluate(lstm=(0.2, 0.1))
    first = complete_registration("bitcoin", root=tmp_path, store=store)
    second = complete_registration("bitcoin", root=tmp_path, store=store)
    assert (first.created, second.created) == (True, False)
    assert first.version == second.version
    assert len(store.client.search_model_versions(f"name = '{MODEL}'")) == 1


def test_a_new_champion_takes_the_alias_and_a_challenger_leaves_it(
    store: Store, make_model_folder: Callable[..., Path], evaluate: Callable[..., None], tmp_path: Path
) -> None:
    make_model_folder("lstm")
    make_model_folder("gru", seed=2)
    make_model_folder("rnn", seed=3)
    evaluate(lstm=(0.2, 0.1), gru=(0.1, 0.1), rnn=(0.1, 0.1))
    complete_registration("bitcoin", root=tmp_path, store=store)
    evaluate(lstm=(0.2, 0.1), gru=(0.3, 0.2), rnn=(0.1, 0.1))
    second = complete_registration("bitcoin", root=tmp_path, store=store)
    evaluate(lstm=(0.2, 0.1), gru=(0.3, 0.2), rnn=(0.4, -0.1))
    third = complete_registration("bitcoin", root=tmp_path, store=store)
    aliases = store.client.get_registered_model(MODEL).aliases
    assert {name: str(number) for name, number in aliases.items()} == {
        "champion": second.version,
        "challenger": third.version,
    }


def test_a_model_whose_verdict_changes_is_not_both(
    store: Store, model_folder: Path, evaluate: Callable[..., None], tmp_path: Path
) -> None:
    evaluate(lstm=(0.2, 0.1))
    complete_registration("bitcoin", root=tmp_path, store=store)
    evaluate(lstm=(0.2, -0.1))
    version = complete_registration("bitcoin", root=tmp_path, store=store)
    assert list(store.client.get_model_version(MODEL, version.version).aliases) == ["challenger"]


def test_a_version_with_an_alias_is_not_deleted(
    store: Store, make_model_folder: Callable[..., Path], evaluate: Callable[..., None], tmp_path: Path
) -> None:
    make_model_folder("lstm")
    make_model_folder("gru", seed=2)
    evaluate(lstm=(0.2, 0.1), gru=(0.1, 0.1))
    old = complete_registration("bitcoin", root=tmp_path, store=store)
    with pytest.raises(TrackingError, match=r"carrossel-bitcoin version 1 is champion: not deleted"):
        delete_version(store, MODEL, old.version)
    evaluate(lstm=(0.2, 0.1), gru=(0.3, 0.1))
    new = complete_registration("bitcoin", root=tmp_path, store=store)
    delete_version(store, MODEL, old.version)
    assert [str(v.version) for v in store.client.search_model_versions(f"name = '{MODEL}'")] == [new.version]


def _run_stage(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Any]:
    stage = runpy.run_path(str(STAGE))
    stage["register"]("bitcoin")
    written: dict[str, Any] = json.loads((tmp_path / "reports/registered/bitcoin.json").read_text())
    return written


def test_the_stage_writes_the_same_file_with_and_without_a_server(
    store: Store,
    model_folder: Path,
    evaluate: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    evaluate(lstm=(0.2, 0.1))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    without = _run_stage(monkeypatch, tmp_path)
    assert "bitcoin: registration is pending: tracking server http://127.0.0.1:9" in capsys.readouterr().err
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    assert _run_stage(monkeypatch, tmp_path) == without
    assert "carrossel-bitcoin version 1 is champion" in capsys.readouterr().out
    assert without == {
        "dataset": "bitcoin",
        "model": MODEL,
        "competitor": "lstm",
        "key": model_key(model_folder),
        "alias": "champion",
        "reason": REASON,
        "validation_skill": 0.2,
        "test_skill": 0.1,
    }


def test_a_registration_that_was_pending_is_completed_later(
    store: Store,
    model_folder: Path,
    evaluate: Callable[..., None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    evaluate(lstm=(0.2, 0.1))
    with monkeypatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        _run_stage(patch, tmp_path)
    assert complete_registration("bitcoin").alias == "champion"
    noted = json.loads((tmp_path / ".carrossel/registry/bitcoin.json").read_text())
    assert (noted["model"], noted["version"]) == (MODEL, "1")


def test_the_stage_without_evaluation_says_what_to_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["register.py", "bitcoin"])
    monkeypatch.setattr("carrossel.stage._die_with_parent", lambda: None)
    with pytest.raises(SystemExit):
        runpy.run_path(str(STAGE), run_name="__main__")
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "Run: dvc repro evaluate@bitcoin" in said


def test_plots_and_report_are_a_run_of_their_own_logged_once(tmp_path: Path, store: Store) -> None:
    root = tmp_path
    explore = root / "reports" / "explore" / "bitcoin"
    explore.mkdir(parents=True)
    (explore / "price.png").write_bytes(b"png")
    (root / "reports" / "report.html").write_text("<p>")
    first = sync_reports(store, root, "bitcoin")
    assert sync_reports(store, root, "bitcoin") == first
    names = [entry.path for entry in store.client.list_artifacts(str(first))]
    assert {"explore", "report.html"} <= set(names)
    (root / "reports" / "report.html").write_text("<p>new")
    assert sync_reports(store, root, "bitcoin") != first
