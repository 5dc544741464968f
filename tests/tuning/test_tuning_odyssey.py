"""The odyssey: which trials it runs, and what it says of them."""

import copy
import json
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from carrossel.config import load_params
from carrossel.errors import ConfigError, StudyError
from carrossel.recorder import MemoryRecorder, MemoryRuns
from carrossel.tuning import source
from carrossel.tuning.conducting import conduct
from carrossel.tuning.crew import alone
from carrossel.tuning.odyssey import running
from carrossel.tuning.odyssey.config import Odyssey
from carrossel.tuning.odyssey.page import make_report, tabulate, write_report
from carrossel.tuning.odyssey.plan import read_plan
from carrossel.tuning.odyssey.running import run_odyssey
from carrossel.tuning.odyssey.statistics import best_tenth, compare, order_cells, summarise
from carrossel.tuning.odyssey.words import tell_ablations, tell_differences, tell_variance
from carrossel.tuning.trial import Outcome
from carrossel.tuning.variance import explain, make_axes
from studies import Quiet

ROOT = Path(__file__).resolve().parents[2]
SPACE = {
    "cell.hidden_size": {"kind": "int", "low": 2, "high": 4},
    "training.learning_rate": {"kind": "float", "low": 0.001, "high": 0.1, "log": True},
}


@pytest.fixture(scope="module", autouse=True)
def _small():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("carrossel.tuning.variance._TREES", 16)
        patch.setattr("carrossel.tuning.odyssey.page._DPI", 25)
        yield


@pytest.fixture
def params():
    whole = copy.deepcopy(load_params(ROOT / "params.yaml"))
    whole["windows"] |= {"lookback": 4, "features": ["log_return"]}
    whole["cells"] = {"rnn": {"hidden_size": 3}}
    whole["odyssey"] = {"dataset": "bitcoin", "cells": ["rnn", "nog"], "trials": 1, "epochs": 1, "space": SPACE}
    return whole


def sail(params, root, bars, runs=None):
    plan = read_plan(params, "hash")
    return run_odyssey(
        plan, bars, root, open_run=runs or MemoryRuns(), progress=Quiet(), finish=lambda _run, trials: trials
    )


def test_every_cell_gets_its_trials_and_more_of_them_go_on(params, tmp_path, make_bars, monkeypatch):
    bars, runs = make_bars(160), MemoryRuns()
    first = sail(params, tmp_path, bars, runs)

    assert first[["cell", "number", "state"]].to_numpy().tolist() == [
        ["rnn", 0, "complete"],
        ["nog", 0, "complete"],
    ]
    assert first["cell.hidden_size"].between(2, 4).all()
    assert [name for name, *_ in runs.seen] == ["odyssey"]

    params["odyssey"]["trials"] = 2
    conducted = []
    monkeypatch.setattr(running, "conduct", lambda ongoing, *rest: conducted.append(1) or conduct(ongoing, *rest))
    second = sail(params, tmp_path, bars, runs)
    assert len(second) == 4
    pd.testing.assert_frame_equal(second[second["number"] < 1].reset_index(drop=True), first)
    # What is there is read, not run; a study that has more than asked gives its first ones.
    params["odyssey"]["trials"] = 1
    pd.testing.assert_frame_equal(sail(params, tmp_path, bars, runs), first)
    assert conducted == [1]
    assert [name for name, *_ in runs.seen] == ["odyssey"]


def test_trials_are_runs_below_the_odysseys_where_asked(params, tmp_path, make_bars):
    params["odyssey"] |= {"cells": ["rnn"], "track_trials": True}
    runs = MemoryRuns()
    sail(params, tmp_path, make_bars(160), runs)

    assert [(name, parent) for name, parent, _ in runs.seen] == [("odyssey", None), ("trial 0", "odyssey-bitcoin")]


def test_the_test_part_is_never_seen(params, tmp_path, make_bars):
    """Other prices behind validation, the same trials."""
    bars = make_bars(160)
    changed = bars.copy()
    after = changed.index >= int(160 * 0.85)
    changed.loc[after, ["open", "high", "low", "close"]] *= 3
    params["odyssey"]["cells"] = ["rnn"]

    one, two = sail(params, tmp_path / "one", bars), sail(params, tmp_path / "two", changed)
    pd.testing.assert_frame_equal(one.drop(columns="seconds"), two.drop(columns="seconds"))


def test_a_cell_without_a_complete_trial_is_named(params, tmp_path, make_bars, monkeypatch):
    params["odyssey"] |= {"cells": ["rnn"]}
    monkeypatch.setattr(alone, "run_trial", lambda *_: Outcome("failed", reason="the loss is nan"))

    with pytest.raises(
        StudyError, match=r"odyssey rnn: none of 1 trials completed; the last: the loss is nan.*odyssey\.cells"
    ):
        sail(params, tmp_path, make_bars(160))


def test_a_trial_lost_with_its_driver_is_no_row(params):
    params["odyssey"] |= {"cells": ["rnn"]}
    study = optuna.create_study()
    for reason, marks in (("behind", {"dead": True}), ("the loss is nan", {})):
        study.add_trial(
            optuna.trial.create_trial(
                state=optuna.trial.TrialState.FAIL, user_attrs={"reason": reason}, system_attrs=marks
            )
        )
    rows = running.read_trials(read_plan(params, "hash"), {"rnn": study})
    assert rows[["number", "state", "reason"]].to_numpy().tolist() == [[1, "failed", "the loss is nan"]]


def test_an_edited_cell_repeats_its_own_trials_alone(params, tmp_path, monkeypatch):
    room = tmp_path / "carrossel"
    for name in ("cells/base.py", "cells/rnn.py", "cells/nog.py", "tuning/trial.py"):
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).write_text("before")
    monkeypatch.setattr(source.carrossel, "__file__", str(room / "__init__.py"))
    monkeypatch.setattr(source, "_FILES", ("tuning/trial.py",))

    def names():
        source.digest_trial.cache_clear()
        plan = read_plan(params, "hash")
        return [plan.name("rnn"), plan.name("nog")]

    before = names()
    (room / "cells/nog.py").write_text("after")
    edited = names()
    assert edited[0] == before[0]
    assert edited[1] != before[1]
    (room / "cells/base.py").write_text("after")
    assert not set(names()) & set(edited)
    source.digest_trial.cache_clear()


@pytest.mark.parametrize(
    ("change", "repeated"),
    [
        (lambda p: p["odyssey"].update(trials=9, workers=2, cells=["rnn", "nog", "gru"]), []),
        (lambda p: p["cells"]["rnn"].update(hidden_size=9), []),  # drawn anyway
        (lambda p: p["training"].update(learning_rate=0.5, epochs=77), []),
        (lambda p: p["cells"]["rnn"].update(layers=2), ["rnn"]),
        (lambda p: p["cells"].update(nog={"forget_bias": 3.0}), ["nog"]),
        (lambda p: p["odyssey"].update(epochs=2), ["rnn", "nog"]),
        (lambda p: p["training"].update(weight_decay=0.1), ["rnn", "nog"]),
    ],
)
def test_a_changed_knob_repeats_the_trials_it_decides(params, change, repeated):
    before = read_plan(params, "hash")
    change(params)
    after = read_plan(params, "hash")

    assert [cell for cell in ("rnn", "nog") if after.name(cell) != before.name(cell)] == repeated
    assert read_plan(params, "other").name("rnn") != after.name("rnn")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "ether"}, r"odyssey\.dataset = 'ether'"),
        ({"cells": ["rnn", "lstn"]}, r"odyssey\.cells\.1 = 'lstn'"),
        ({"cells": ["rnn", "rnn"]}, "named once"),
        ({"reference": "gru"}, "reference = gru: not among cells"),
        ({"space": {"cell.kind": {"kind": "categorical", "choices": ["rnn"]}}}, "take the key out"),
        (
            {
                "space": {
                    **SPACE,
                    "cell.layers": {"kind": "int", "low": 1, "high": 2, "when": {"cell.hidden_size": [2]}},
                }
            },
            "take `when` out",
        ),
        ({"space": {"cell.forget_bias": {"kind": "float", "low": 0, "high": 1}}}, "forget_bias"),  # an rnn has none
    ],
)
def test_a_wrong_section_is_named(params, change, message):
    params["odyssey"] |= change
    with pytest.raises(ConfigError, match=message):
        read_plan(params, "hash")


@pytest.mark.parametrize(
    ("cells", "reference", "expected"),
    [
        (["rnn", "lstm", "peephole_diagonal"], None, "peephole_diagonal"),
        (["rnn", "lstm"], None, "lstm"),
        (["rnn", "gru"], None, "rnn"),
        (["rnn", "lstm"], "rnn", "rnn"),
    ],
)
def test_the_reference_is_the_papers_lstm_if_it_is_there(cells, reference, expected):
    config = {"dataset": "bitcoin", "cells": cells, "reference": reference, "space": SPACE}
    assert Odyssey.model_validate(config).compared_with == expected


def table(**skills):
    """Trials of cells by their skills; None failed."""
    rows = [
        {
            "cell": cell,
            "number": number,
            "state": "failed" if skill is None else "complete",
            "skill": skill,
            "seconds": 1.0,
            "parameters": 10 + number,
            "reason": "loss is nan" if skill is None else "",
            "cell.hidden_size": 2 + number % 3,
            "training.learning_rate": 10 ** (-3 + 2 * number / 50),
        }
        for cell, values in skills.items()
        for number, skill in enumerate(values)
    ]
    return pd.DataFrame(rows)


def spread(centre, count=50, width=0.1, seed=0):
    return (centre + width * np.random.default_rng(seed).normal(size=count)).tolist()


def section(cells, trials=50):
    return Odyssey.model_validate({"dataset": "bitcoin", "cells": cells, "trials": trials, "epochs": 1, "space": SPACE})


def test_the_best_tenth_is_chosen_by_skill():
    own = table(rnn=[0.1 * k for k in range(25)])

    assert best_tenth(own)["skill"].tolist() == pytest.approx([2.4, 2.3])
    assert len(best_tenth(own.head(3))) == 1


def test_welchs_test_of_the_best_tenths_is_corrected_by_holm():
    trials = table(peephole_diagonal=spread(0.3), rnn=spread(-2, seed=1), nog=spread(0.3, seed=2))
    found = compare(trials, "peephole_diagonal", "best tenth")

    plain = {
        cell: ttest_ind(
            best_tenth(trials[trials["cell"] == cell])["skill"],
            best_tenth(trials[trials["cell"] == "peephole_diagonal"])["skill"],
            equal_var=False,
        ).pvalue
        for cell in ("rnn", "nog")
    }
    # Holm, two tests: the smaller p is doubled, the larger stays.
    assert found.p_against("rnn") == pytest.approx(2 * plain["rnn"])
    assert found.p_against("nog") == pytest.approx(plain["nog"])
    assert found.p_against("peephole_diagonal") is None
    assert found.groups == [tuple(cell for cell in order_cells(trials) if cell != "rnn")]


def test_groups_overlap_where_differences_are_no_ladder():
    """The middle one differs from neither, the ends differ."""
    trials = table(high=spread(0.06), low=spread(0), middle=spread(0.03))
    found = compare(trials, "high", "all trials")

    assert found.groups == [("high", "middle"), ("middle", "low")]
    assert found.overall < 0.05


def test_few_trials_are_compared_whole_and_said_to_be_few():
    trials = table(lstm=spread(0.3, 20), gru=spread(0.3, 20, seed=1), rnn=[*spread(-2, 20, seed=2), None])
    config = section(["lstm", "gru", "rnn"], trials=20)
    tests = [compare(trials, "lstm", of) for of in ("best tenth", "all trials")]

    assert tests[0] is None
    said = tell_differences(config, trials, [tests[1]])
    assert said[0] == "20 trials give a best tenth of 2: too few to test; 50 or more do."
    assert said[1].startswith("Over all trials the cells differ (Kruskal-Wallis, p ")
    assert said[2].startswith("Lower than lstm: rnn (p ")
    assert said[3] in {
        "Not to be told from one another by all trials: lstm and gru.",
        "Not to be told from one another by all trials: gru and lstm.",
    }
    summary = summarise(trials, [tests[1]]).set_index("cell")
    assert summary.loc["rnn", ["trials", "failed", "best_tenth"]].tolist() == [20, 1, 2]
    assert summary["p_best_tenth"].isna().all()


def test_an_ablation_is_told_by_what_it_takes_away():
    same = spread(0.3)
    trials = table(peephole_diagonal=same, nog=[skill + 1e-6 for skill in same], nfg=spread(-1, seed=1))
    said = tell_ablations(trials, compare(trials, "peephole_diagonal", "best tenth"))

    assert said[0].startswith("No use of the output gate shows: without it skill doesn't differ significantly (nog ")
    assert said[1].startswith("The forget gate helps: without it skill is lower (nfg ")
    # Against another reference more than a gate differs.
    assert tell_ablations(trials, compare(trials, "nog", "best tenth")) == []


def test_variance_is_told_by_key_and_not_at_all_where_it_is_noise():
    trials = table(rnn=[0.0] * 50)
    trials["skill"] = np.log10(trials["training.learning_rate"])
    config = section(["rnn"])
    axes = make_axes(config.space)
    said = tell_variance(config, [explain(trials, axes)])
    assert said[0].startswith("On bitcoin, 50 trials of 1 cell: learning rate explains ")
    assert said[1].startswith("Hidden size is not worth a search here")

    noise = explain(table(rnn=spread(0)), axes)
    assert "can't be said" in tell_variance(config, [noise])[0]
    assert "can't be said" in tell_variance(config, [])[0]


def test_the_report_is_written_whole_and_trials_are_counted(tmp_path):
    cells = ["nog", "<b>"]
    trials = table(**{cell: [*spread(0.3, 12, seed=seed), None] for seed, cell in enumerate(cells)})
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / "old.png").touch()
    run = MemoryRecorder()
    report = write_report(tmp_path, section(cells, 12), run, trials)

    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "cells.csv",
        "distributions.png",
        "interplay.png",
        "marginals.png",
        "odyssey.html",
        "shares.png",
        "trials.csv",
        "variance.csv",
    ]
    page = (tmp_path / "odyssey.html").read_text()
    assert "<b>" not in page  # names are escaped
    assert "http" not in page.replace("http-equiv", "")
    assert "loss is nan" in page
    assert report.headlines[0] in page.replace("&#39;", "'")
    assert run.seen_metrics == [(26, {"trials": 24.0, "failed": 2.0})]
    # Shares of each cell, and of all, are whole.
    shares = pd.read_csv(tmp_path / "variance.csv")
    assert shares.groupby("cell")["share"].sum().to_numpy() == pytest.approx(1)
    assert set(shares["cell"]) == {"all", *cells}
    assert json.loads(json.dumps(report.headlines)) == report.headlines


def test_one_trial_of_one_cell_has_a_page_too():
    report = make_report(table(rnn=[0.1]), section(["rnn"], 1))

    assert list(report.figures) == ["distributions"]
    assert tabulate([]).empty
    assert "One cell alone" in " ".join(report.headlines)
