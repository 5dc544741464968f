from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from matplotlib.figure import Figure

from carrossel.tracking.mlflow_recorder import MlflowRecorder, open_run

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.tracking.store import Store


def test_a_run_has_its_name_tags_params_metrics_and_ends_finished(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_EXP_NAME", "brave-lamb")
    monkeypatch.setattr(sys, "argv", ["/somewhere/pipeline/train.py"])
    with open_run("bitcoin", "lstm", key="k", tags={"cell": "lstm", "seed": "1"}, store=store) as recorder:
        recorder.params({"epochs": 8, "target": "log_return", "nothing": None})
        recorder.metrics({"train_loss": 1.0, "validation_loss": 2.0}, step=0)
        recorder.metrics({"train_loss": 0.5, "validation_loss": 1.5}, step=1)
    run = store.client.get_run(str(recorder.run_id))
    assert store.client.get_experiment(run.info.experiment_id).name == "bitcoin"
    assert (run.info.run_name, run.info.status) == ("lstm", "FINISHED")
    assert run.data.params == {"epochs": "8", "target": "log_return", "nothing": "None"}
    assert run.data.metrics == {"train_loss": 0.5, "validation_loss": 1.5}
    tags = run.data.tags
    assert {"dataset": "bitcoin", "competitor": "lstm", "cell": "lstm", "seed": "1"}.items() <= tags.items()
    assert tags["carrossel.key"] == "k"
    assert tags["dvc_experiment"] == "brave-lamb"
    assert tags["mlflow.source.name"] == "train.py"
    assert tags["git_commit"]


def test_the_metrics_of_an_epoch_go_in_one_batch(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with open_run("bitcoin", "lstm", key="k", store=store) as recorder:
        batches: list[int] = []
        log_batch = store.client.log_batch
        monkeypatch.setattr(
            store.client,
            "log_batch",
            lambda run_id, **sent: (batches.append(len(sent["metrics"])), log_batch(run_id, **sent)),
        )
        recorder.metrics({"a": 1.0, "b": 2.0, "c": 3.0}, step=4)
    assert batches == [3]


def test_runs_of_one_dataset_share_an_experiment(store: Store) -> None:
    ids = set()
    for name in ("lstm", "gru"):
        with open_run("bitcoin", name, key=name, store=store) as recorder:
            ids.add(store.client.get_run(str(recorder.run_id)).info.experiment_id)
    assert len(ids) == 1


def test_an_experiment_deleted_in_the_ui_is_used_again(store: Store) -> None:
    with open_run("bitcoin", "lstm", key="k", store=store) as recorder:
        pass
    store.client.delete_experiment(store.client.get_run(str(recorder.run_id)).info.experiment_id)
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        pass
    assert store.client.get_experiment_by_name("bitcoin").lifecycle_stage == "active"


@pytest.mark.parametrize(
    ("error", "status", "reason"),
    [
        (ValueError("loss isn't finite"), "FAILED", "ValueError: loss isn't finite"),
        (KeyboardInterrupt(), "KILLED", "KeyboardInterrupt"),
    ],
)
def test_a_run_that_stops_early_says_how_and_why(store: Store, error: BaseException, status: str, reason: str) -> None:
    with (
        pytest.raises(type(error)),
        open_run("bitcoin", "lstm", key="k", store=store) as recorder,
    ):
        raise error
    run = store.client.get_run(str(recorder.run_id))
    assert (run.info.status, run.data.tags["carrossel.ended"]) == (status, reason)


def test_a_pruned_trial_is_killed_with_a_tag_whatever_its_exception(store: Store) -> None:
    with (
        open_run("bitcoin", "study", key="s", store=store) as study,
        pytest.raises(RuntimeError),
        open_run("bitcoin", "trial 3", key="t", parent_run_id=study.run_id, store=store) as trial,
    ):
        trial.prune("worse than the median at epoch 2")
        raise RuntimeError("pruned")
    run = store.client.get_run(str(trial.run_id))
    assert run.info.status == "KILLED"
    assert run.data.tags["carrossel.pruned"] == "true"
    assert run.data.tags["carrossel.ended"] == "worse than the median at epoch 2"
    assert run.data.tags["mlflow.parentRunId"] == study.run_id
    assert store.client.get_run(str(study.run_id)).info.status == "FINISHED"


def test_a_resumed_training_goes_on_in_its_run_and_repeats_no_epoch(store: Store) -> None:
    with pytest.raises(KeyboardInterrupt), open_run("bitcoin", "lstm", key="k", store=store) as first:
        first.params({"epochs": 3})
        first.metrics({"loss": 3.0}, step=0)
        first.metrics({"loss": 2.0}, step=1)
        raise KeyboardInterrupt
    with open_run("bitcoin", "lstm", key="k", resume_run_id=first.run_id, store=store) as second:
        second.params({"epochs": 3})
        second.metrics({"loss": 2.0}, step=1)
        second.metrics({"loss": 1.0}, step=2)
    assert second.run_id == first.run_id
    history = store.client.get_metric_history(str(first.run_id), "loss")
    assert [(metric.step, metric.value) for metric in history] == [(0, 3.0), (1, 2.0), (2, 1.0)]
    assert store.client.get_run(str(first.run_id)).info.status == "FINISHED"


def test_the_curves_of_a_run_go_in_as_few_batches_as_mlflow_takes_and_never_twice(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    curves = {step: {"skill": step / 10, "loss": 2.0} for step in range(600)}
    batches: list[int] = []
    log_batch = store.client.log_batch
    monkeypatch.setattr(
        store.client,
        "log_batch",
        lambda run_id, **sent: (batches.append(len(sent.get("metrics", ()))), log_batch(run_id, **sent)),
    )
    with open_run("bitcoin", "trial 0", key="k", store=store, strict=True) as first:
        first.curves(curves)
    assert batches == [1000, 200]
    with open_run("bitcoin", "trial 0", key="k", resume_run_id=first.run_id, store=store, strict=True) as again:
        again.curves({**curves, 600: {"skill": 60.0}})
    history = store.client.get_metric_history(str(first.run_id), "skill")
    assert [metric.step for metric in history] == list(range(601))


def test_a_run_is_found_by_its_key_below_its_parent_alone(store: Store) -> None:
    def run(name: str, parent: str | None, *, resume: bool) -> str:
        with open_run(
            "bitcoin", name, key="s/0", parent_run_id=parent, resume_key=resume, store=store, strict=True
        ) as recorder:
            recorder.metrics({"skill": 1.0})
        return str(recorder.run_id)

    parents = []
    for _ in range(2):
        with open_run("bitcoin", "study", key="s", store=store, strict=True) as parent:
            parents.append(parent.run_id)
    first = run("trial 0", parents[0], resume=False)
    assert run("trial 7", parents[0], resume=True) == first
    assert run("trial 7", parents[1], resume=True) != first
    found = store.client.get_run(first)
    assert (found.info.run_name, found.info.status) == ("trial 7", "FINISHED")


def test_a_run_that_goes_on_is_no_longer_what_it_had_ended_as(store: Store) -> None:
    with open_run("bitcoin", "trial", key="k", store=store, strict=True) as first:
        first.prune("behind")
    with open_run("bitcoin", "trial", key="k", resume_run_id=first.run_id, store=store, strict=True):
        pass
    run = store.client.get_run(str(first.run_id))
    assert run.info.status == "FINISHED"
    assert not {"carrossel.pruned", "carrossel.ended"} & run.data.tags.keys()


def test_a_run_told_to_have_failed_says_why_and_when_its_work_began(store: Store) -> None:
    with open_run("bitcoin", "trial", key="k", started=1e9, store=store, strict=True) as recorder:
        recorder.fail("the loss became nan")
    run = store.client.get_run(str(recorder.run_id))
    assert (run.info.status, run.data.tags["carrossel.ended"]) == ("FAILED", "the loss became nan")
    assert run.info.start_time == 10**12  # milliseconds


def test_resuming_a_run_the_server_lacks_starts_a_new_one(store: Store) -> None:
    with open_run("bitcoin", "lstm", key="k", resume_run_id="f" * 32, store=store, strict=True) as recorder:
        pass
    assert recorder.run_id != "f" * 32
    assert store.client.get_run(str(recorder.run_id)).info.status == "FINISHED"


def test_a_parameter_that_changed_keeps_its_first_value_and_is_named(store: Store) -> None:
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        recorder.params({"epochs": 3, "seed": 1})
        recorder.params({"epochs": 4, "seed": 1})
    run = store.client.get_run(str(recorder.run_id))
    assert run.data.params == {"epochs": "3", "seed": "1"}
    assert run.data.tags["carrossel.changed_params"] == "epochs"


def test_values_longer_than_mlflow_takes_are_cut(store: Store) -> None:
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        recorder.params({"p" * 300: "v" * 7000})
        recorder.tags({"t": "v" * 9000})
    run = store.client.get_run(str(recorder.run_id))
    assert run.data.params == {"p" * 250: "v" * 6000}
    assert run.data.tags["t"] == "v" * 8000


def test_figures_are_png_and_files_are_copied(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "note.csv"
    file.write_text("a\n1\n")
    with open_run("bitcoin", "lstm", key="k", store=store, strict=True) as recorder:
        recorder.figure("figures/empty.png", Figure())
        recorder.artifact(file, "tables")
    artifacts = tmp_path / "mlruns" / "bitcoin" / str(recorder.run_id) / "artifacts"
    assert (artifacts / "figures/empty.png").read_bytes().startswith(b"\x89PNG")
    assert (artifacts / "tables/note.csv").read_text() == "a\n1\n"


def test_a_figure_that_is_no_png_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match=r"plot\.html.*\.png"):
        MlflowRecorder(store, "x").figure("plot.html", Figure())


def test_secrets_in_reasons_and_tags_are_not_recorded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter2")
    with (
        pytest.raises(RuntimeError),
        open_run("bitcoin", "lstm", key="k", tags={"source": "http://ann:pw@host"}, store=store) as recorder,
    ):
        raise RuntimeError("401 for hunter2 at postgresql://ann:pw@host/db")
    tags = store.client.get_run(str(recorder.run_id)).data.tags
    assert tags["source"] == "http://***@host"
    assert tags["carrossel.ended"] == "RuntimeError: 401 for *** at postgresql://***@host/db"
