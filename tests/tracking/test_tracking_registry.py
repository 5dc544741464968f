from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from carrossel.errors import ModelError, TrackingError
from carrossel.files import sha256
from carrossel.tracking.registry import (
    CHALLENGER,
    CHAMPION,
    PREVIOUS,
    choose,
    delete_version,
    describe,
    download,
    key_of,
    move_aliases,
    read_aliases,
    read_choice,
    register,
    sync_dataset,
)
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


def test_a_baselines_folder_is_no_candidate_however_good_it_is_but_has_a_run_with_its_evaluation(
    store: Store,
    model_folder: Path,
    make_baseline_folder: Callable[..., Path],
    evaluate: Callable[..., None],
    tmp_path: Path,
) -> None:
    make_baseline_folder("har")
    evaluate(lstm=(0.2, 0.1), har=(0.5, 0.4))
    assert read_choice("bitcoin", tmp_path).competitor == "lstm"
    sync_dataset(store, "bitcoin", tmp_path)
    runs = {run.competitor: run for run in sync(tmp_path / "models", store=store)}
    assert not any(run.created for run in runs.values())
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


def test_what_a_model_deserves_is_said_without_a_server(
    model_folder: Path, evaluate: Callable[..., None], tmp_path: Path
) -> None:
    evaluate(lstm=(0.2, 0.1))
    assert describe(read_choice("bitcoin", tmp_path), tmp_path) == {
        "dataset": "bitcoin",
        "model": MODEL,
        "competitor": "lstm",
        "key": model_key(model_folder),
        "alias": "champion",
        "reason": REASON,
        "validation_skill": 0.2,
        "test_skill": 0.1,
    }


def test_a_model_is_registered_once_with_tags_and_files_and_comes_back_as_it_went(
    store: Store, model_folder: Path, tmp_path: Path
) -> None:
    (model_folder / "model.onnx").write_bytes(b"onnx")
    first = register(store, "bitcoin", model_folder, "because")
    again = register(store, "bitcoin", model_folder, "because")
    assert (first.created, again.created) == (True, False)
    assert first.version == again.version == "1"
    assert len(store.client.search_model_versions(f"name = '{MODEL}'")) == 1
    found = store.client.get_model_version(MODEL, "1")
    assert (found.run_id, found.aliases) == (first.run_id, [])
    assert found.tags["carrossel.key"] == first.key == model_key(model_folder) == key_of(store, MODEL, "1")
    assert found.tags["data_sha256"] == "d" * 64
    assert found.tags["git_commit"] == "0123abc-dirty"
    assert (found.tags["dataset"], found.tags["cell"], found.tags["reason"]) == ("bitcoin", "lstm", "because")
    (tmp_path / "copy").mkdir()
    hashes = download(store, MODEL, "1", tmp_path / "copy")
    assert hashes == {
        name: sha256(model_folder / name) for name in ("manifest.json", "model.safetensors", "model.onnx")
    }
    assert {name: sha256(tmp_path / "copy" / name) for name in hashes} == hashes
    # the graph is with the model; a run's results don't hold it twice
    results = {entry.path for entry in store.client.list_artifacts(first.run_id, "results")}
    assert "results/manifest.json" in results
    assert not results & {"results/model.onnx", "results/model.safetensors"}


@pytest.fixture
def versions(store: Store) -> Store:
    """Three versions without files."""
    store.client.create_registered_model(MODEL)
    for number in range(3):
        store.client.create_model_version(MODEL, source=f"{(store.artifacts or Path()).as_uri()}/{number}")
    return store


def test_aliases_are_what_was_wanted_and_a_champion_was_there_all_the_time(
    versions: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_aliases(versions, "carrossel-nothing") == {}
    move_aliases(versions, MODEL, {CHAMPION: "1", CHALLENGER: "2"})
    seen = []
    moved = type(versions.client).set_registered_model_alias

    def watch(client: Any, *arguments: Any) -> None:
        moved(client, *arguments)
        seen.append(read_aliases(versions, MODEL)[CHAMPION])

    monkeypatch.setattr(type(versions.client), "set_registered_model_alias", watch)
    move_aliases(versions, MODEL, {CHAMPION: "3", PREVIOUS: "1"})
    assert read_aliases(versions, MODEL) == {CHAMPION: "3", PREVIOUS: "1"}
    assert seen == ["1", "3"]


@pytest.mark.parametrize("alias", [CHAMPION, PREVIOUS, CHALLENGER])
def test_a_version_with_an_alias_is_not_deleted(versions: Store, alias: str) -> None:
    move_aliases(versions, MODEL, {alias: "1"})
    with pytest.raises(TrackingError, match=f"carrossel-bitcoin version 1 is {alias}: not deleted"):
        delete_version(versions, MODEL, "1")
    move_aliases(versions, MODEL, {alias: "2"})
    delete_version(versions, MODEL, "1")
    assert {str(v.version) for v in versions.client.search_model_versions(f"name = '{MODEL}'")} == {"2", "3"}


def test_a_version_that_is_gone_or_holds_nothing_of_ours_is_told(versions: Store, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"carrossel-bitcoin version 1: manifest.json is gone from the store"):
        download(versions, MODEL, "1", tmp_path)
    with pytest.raises(TrackingError, match="not found"):
        download(versions, MODEL, "9", tmp_path)
    assert key_of(versions, MODEL, "9") is key_of(versions, MODEL, "1") is None


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
    figures = root / "reports" / "studies" / "bitcoin" / "figures"
    figures.mkdir(parents=True)
    for file in (figures / "history.png", figures.parent / "study.html"):
        file.write_bytes(b"x")
    first = sync_reports(store, root, "bitcoin")
    assert sync_reports(store, root, "bitcoin") == first
    names = [entry.path for entry in store.client.list_artifacts(str(first))]
    assert {"explore", "report.html", "study"} <= set(names)
    study = [entry.path for entry in store.client.list_artifacts(str(first), "study")]
    assert study == ["study/figures", "study/study.html"]
    (root / "reports" / "report.html").write_text("<p>new")
    assert sync_reports(store, root, "bitcoin") != first
