"""Memory exams: what is drawn, what passes, who may sit, and that nothing finished is done twice."""

import logging
import math
import re

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import LocalCluster

from carrossel.errors import ConfigError, TrainingError, UnknownKind
from carrossel.lab.exams.base import registry
from carrossel.lab.exams.figures import draw_exam_curves, draw_exam_table
from carrossel.lab.exams.mackey_glass import DECAY, DELAY, GAIN, WARM_UP, integrate
from carrossel.lab.exams.reber import LEGAL, MACHINE, SYMBOLS
from carrossel.lab.exams.sitting import running
from carrossel.lab.exams.sitting.plan import read_plan
from carrossel.lab.exams.sitting.running import COLUMNS, CURVE_COLUMNS, hold_exams, run_sitting, source_digest
from carrossel.lab.exams.sitting.taking import sit

# From node 4 of Reber's machine to its end, then the whole of it, written by hand.
_REST = "(?:XT*VP)*(?:S|XT*VV)"
EMBEDDED = re.compile(f"B([TP])B(?:TS*X{_REST}|PT*V(?:V|P{_REST}))E\\1E")


def open_exam(kind, length, **keys):
    cls = registry.load(kind)
    return cls(cls.Config(**keys), length)


def draw(exam, count, seed=1):
    return exam.draw(np.random.default_rng(seed), count)


def params(candidates=None, papers=None, **lab):
    small = {"lengths": [4], "hidden_size": 8, "sequences": 64, "check_every": 20, "learning_rate": 0.02}
    exams = {
        "candidates": candidates or {"gru": {"cell": "gru"}},
        "papers": papers or {"adding": {**small, "iterations": 400}},
        "seeds": lab.pop("seeds", 1),
    }
    return {"lab": {"exams": exams, **lab}}


def only_sitting(**keys):
    (sitting,) = read_plan(params(**keys)).sittings
    return sitting


@pytest.mark.parametrize("kind", registry.kinds())
def test_every_exam_draws_equal_sequences_from_equal_seeds_and_asks_about_steps_that_are_there(kind):
    length = 24
    exam = open_exam(kind, length)
    first, again, other = draw(exam, 5), draw(exam, 5), draw(exam, 5, seed=2)
    for mine, theirs in zip(first, again, strict=True):
        assert torch.equal(mine, theirs)
    assert first.x.shape != other.x.shape or not torch.equal(first.x, other.x)
    time, batch, inputs = first.x.shape
    assert (batch, inputs) == (5, exam.inputs)
    assert len(first.asked) == len(first.target)
    assert 0 <= first.asked.min() <= first.asked.max() < time * batch
    answers = torch.zeros(len(first.asked), exam.outputs, requires_grad=True)
    exam.loss(answers, first).backward()
    assert torch.isfinite(answers.grad).all()
    assert exam.pass_mark < exam.chance
    assert re.search(r"\b(19|20)\d\d\b", exam.published)


def test_the_adding_problem_marks_one_number_in_each_half_and_asks_for_their_sum():
    batch = draw(open_exam("adding", 10), 200)
    marks = batch.x[:, :, 1]
    assert torch.equal(marks[:5].sum(0), torch.ones(200))
    assert torch.equal(marks[5:].sum(0), torch.ones(200))
    torch.testing.assert_close((batch.x[:, :, 0] * marks).sum(0), batch.target[:, 0])
    assert torch.equal(batch.asked, torch.arange(9 * 200, 10 * 200))


def test_who_always_answers_one_to_the_adding_problem_scores_a_sixth():
    exam = open_exam("adding", 4)
    batch = draw(exam, 20_000)
    # The squared error's own standard deviation is 0.2, so its mean's is 0.0014.
    assert exam.score(torch.ones(20_000, 1), batch) == pytest.approx(1 / 6, abs=0.006)


def test_temporal_order_asks_for_the_order_of_three_symbols_at_the_places_of_the_paper():
    exam = open_exam("temporal_order", 100)
    batch = draw(exam, 300)
    symbols = batch.x.argmax(2).numpy()
    last, sequence = np.divmod(batch.asked.numpy(), 300)
    assert list(sequence) == list(range(300))
    assert last.min() >= 99
    assert last.max() <= 109
    for n in range(300):
        string = "".join("abcdXYEB"[symbol] for symbol in symbols[: last[n] + 1, n])
        assert re.fullmatch("E[abcdXY]+B", string)
        places = [place for place, symbol in enumerate(string) if symbol in "XY"]
        assert len(places) == 3
        assert all(
            low <= place <= high for place, (low, high) in zip(places, ((10, 20), (33, 43), (66, 76)), strict=True)
        )
        order = ["XXX", "XXY", "XYX", "XYY", "YXX", "YXY", "YYX", "YYY"].index(
            "".join(string[place] for place in places)
        )
        assert batch.target[n] == order


def test_copy_memory_asks_for_ten_letters_after_t_steps_and_guessing_them_scores_the_papers_baseline():
    exam = open_exam("copy_memory", 7)
    batch = draw(exam, 3)
    symbols, target = batch.x.argmax(2), batch.target.view(27, 3)
    assert (symbols[:10] < 8).all()
    assert symbols[10:, 0].tolist() == [8] * 6 + [9] + [8] * 10
    assert (target[:17] == 8).all()
    assert torch.equal(target[17:], symbols[:10])
    # Sure of blanks, and every letter as likely as another where letters are due.
    guess = torch.full((27, 3, 9), -100.0)
    guess[:17, :, 8] = 100.0
    guess[17:, :, :8] = 0.0
    assert exam.chance == pytest.approx(10 * math.log(8) / 27)
    assert exam.score(guess.view(-1, 9), batch) == pytest.approx(exam.chance, rel=1e-6)


def strings_of(batch):
    """The strings that a batch asks about, put together from what is read and what is asked for."""
    count = batch.x.shape[1]
    strings = ["B"] * count
    for row, symbol in zip(batch.asked.tolist(), batch.target[:, 0].tolist(), strict=True):
        strings[row % count] += SYMBOLS[symbol]
    return strings


def test_every_string_is_one_of_the_embedded_reber_grammar():
    strings = strings_of(draw(open_exam("reber", 9), 500))
    assert all(EMBEDDED.fullmatch(string) for string in strings)
    assert min(map(len, strings)) == 9
    assert {string[1] for string in strings} == {"T", "P"}
    assert len(set(strings)) > 50
    assert min(map(len, strings_of(draw(open_exam("reber", 20), 50)))) >= 20


def test_a_string_is_right_when_every_legal_symbol_is_likelier_than_every_other():
    exam = open_exam("reber", 9)
    batch = draw(exam, 2000)
    legal = LEGAL[batch.target[:, 1]]
    assert exam.score(legal.float(), batch) == 0
    # Who knows the grammar but not how a string began has to guess its last T or P.
    forgetful = legal.float()
    last = torch.tensor([len(arcs) == 1 and arcs[0][0] in "TP" and node > 1 for node, arcs in enumerate(MACHINE)])
    forgetful[last[batch.target[:, 1]]] = torch.tensor([0, 1.0, 0.5, 0, 0, 0, 0])
    # 2,000 coins: the standard error is 0.011.
    assert exam.score(forgetful, batch) == pytest.approx(exam.chance, abs=0.05)
    assert exam.score(torch.zeros_like(forgetful), batch) == 1


def test_the_mackey_glass_series_solves_its_equation():
    x = integrate(np.random.default_rng(1), 3, 200)
    assert x.shape == (200, 3)
    # Over a unit of time, with what enters taken as linear between its ends: wrong by its curvature / 12.
    entering = GAIN * x / (1 + x**10)
    keep = math.exp(-DECAY)
    late = (1 - (1 - keep) / DECAY) / DECAY
    early = (1 - keep) / DECAY - late
    now, before = np.arange(DELAY, 199), np.arange(0, 199 - DELAY)
    expected = keep * x[now] + early * entering[before] + late * entering[before + 1]
    np.testing.assert_allclose(x[now + 1], expected, atol=4e-3)
    assert x[:-1].std() > 0.15


def test_the_mackey_glass_exam_asks_for_84_units_ahead_and_a_linear_forecast_is_far_from_passing():
    exam = open_exam("mackey_glass", WARM_UP)
    batch = draw(exam, 3000)
    windows = np.column_stack([batch.x[:, :, 0].double().numpy().T, np.ones(3000)])
    target = batch.target.double().numpy()[:, 0]
    weights = np.linalg.lstsq(windows[:1500], target[:1500])[0]
    error = torch.from_numpy(windows @ weights).float()[:, None]
    assert exam.score(error, batch) == pytest.approx(0.53, abs=0.04)
    assert exam.score(torch.zeros_like(batch.target), batch) == pytest.approx(exam.chance, abs=0.05)
    # The last 14 samples of a longer sequence are what was asked for after the earlier ones.
    longer = draw(open_exam("mackey_glass", WARM_UP + 14), 2)
    torch.testing.assert_close(longer.target.view(15, 2)[0], longer.x[WARM_UP - 1 + 14, :, 0])


def test_chrono_sets_the_longest_dependency_to_each_exams_length():
    papers = {"adding": {"lengths": [50, 400]}, "temporal_order": {}}
    plan = read_plan(params({"a": {"cell": "lstm", "chrono": True}, "b": {"cell": "lstm"}}, papers))
    found = [(each.candidate, each.exam, each.length, each.cell_config.chrono_t_max) for each in plan.sittings]
    assert found == [
        ("a", "adding", 50, 50),
        ("a", "adding", 400, 400),
        ("a", "temporal_order", 100, 100),
        ("b", "adding", 50, None),
        ("b", "adding", 400, None),
        ("b", "temporal_order", 100, None),
    ]
    assert [each.cell_config.hidden_size for each in plan.sittings[:3]] == [64, 64, 4]


@pytest.mark.parametrize(
    ("candidate", "message"),
    [
        ({"cell": "rnn", "chrono": True}, r"candidates\.odd\.chrono = True: a rnn cell has no chrono_t_max"),
        ({"cell": "lstm", "chrono": True, "chrono_t_max": 9}, r"candidates\.odd: chrono sets chrono_t_max"),
        ({"cell": "lstm", "units": 3}, r"candidates\.odd\.units = 3: unknown key"),
        ({"chrono": True}, r"candidates\.odd\.cell is missing"),
    ],
)
def test_a_candidate_that_cannot_sit_is_one_clear_line(candidate, message):
    with pytest.raises(ConfigError, match=message):
        read_plan(params({"odd": candidate}))


@pytest.mark.parametrize(
    ("papers", "message"),
    [
        ({"adding": {"lengths": []}}, r"papers\.adding\.lengths"),
        ({"reber": {"lengths": [5]}}, r"papers\.reber\.lengths\.0 = 5"),
        ({"adding": {"letters": 5}}, r"papers\.adding\.letters = 5: unknown key"),
    ],
)
def test_a_paper_that_cannot_be_set_is_one_clear_line(papers, message):
    with pytest.raises(ConfigError, match=message):
        read_plan(params(papers=papers))
    with pytest.raises(UnknownKind, match=r"exam kind 'sums' doesn't exist\. Choose one of: adding, copy_memory,"):
        read_plan(params(papers={"sums": {}}))


def test_a_sitting_ends_at_the_first_look_that_passes_and_repeats_itself():
    result = sit(only_sitting())
    assert result.solved
    assert result.iterations < 400
    assert result.curve[-1] == (result.iterations, result.score)
    assert [iteration for iteration, _ in result.curve] == list(range(20, result.iterations + 1, 20))
    assert all(score > 0.01 for _, score in result.curve[:-1])
    assert sit(only_sitting()) == result
    # GRU of 8 on 2 inputs: 3 · 8 · (2 + 8), no biases; readout 8 + 1.
    assert result.parameters == 249


def test_options_that_draw_at_random_leave_the_callers_generator_alone_and_repeat_themselves():
    candidate = {"gru": {"cell": "gru", "zoneout": 0.1, "layers": 2, "dropout": 0.1}}
    papers = {"adding": {"lengths": [4], "iterations": 3, "check_every": 2, "hidden_size": 4}}
    torch.manual_seed(5)
    before = torch.get_rng_state()
    result = sit(only_sitting(candidates=candidate, papers=papers))
    assert torch.equal(torch.get_rng_state(), before)
    assert [iteration for iteration, _ in result.curve] == [2, 3]
    assert sit(only_sitting(candidates=candidate, papers=papers)) == result


def test_a_training_that_diverges_is_not_solved_and_has_no_score():
    papers = {"adding": {"lengths": [4], "iterations": 50, "learning_rate": 1e30}}
    result = sit(only_sitting(papers=papers))
    assert not result.solved
    assert result.iterations < 50
    assert math.isnan(result.score)


@pytest.fixture(scope="module")
def scheduler():
    """Two workers as threads of this process: importing torch twice more would take seconds."""
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, protocol="tcp", host="127.0.0.1", dashboard_address=None,
        silence_logs=logging.CRITICAL,
    ) as cluster:  # fmt: skip
        yield cluster.scheduler_address


@pytest.fixture
def hold(scheduler, tmp_path):
    def run(**keys):
        plan = read_plan(params(**keys, scheduler=scheduler))
        hold_exams(plan, scratch=tmp_path / "scratch", table=tmp_path / "exams.csv", curves=tmp_path / "curves.csv")
        return pd.read_csv(tmp_path / "exams.csv"), pd.read_csv(tmp_path / "curves.csv")

    return run


TWO = {"gru": {"cell": "gru"}, "wild": {"cell": "rnn", "layers": 2}}


def test_exams_interrupted_in_the_middle_go_on_with_what_is_missing(hold, monkeypatch, tmp_path, capsys):
    def interrupt(path, value):
        write(path, value)
        raise KeyboardInterrupt

    write = running.write_json
    papers = {
        "adding": {"lengths": [4, 6], "iterations": 30, "check_every": 15, "hidden_size": 4},
        "reber": {"iterations": 20, "check_every": 15, "hidden_size": 4, "learning_rate": 1e30},
    }
    with monkeypatch.context() as patched:
        patched.setattr(running, "write_json", interrupt)
        with pytest.raises(KeyboardInterrupt):
            hold(candidates=TWO, papers=papers)
    (kept,) = (tmp_path / "scratch").glob("*.json")
    when = kept.stat().st_mtime_ns
    assert not (tmp_path / "exams.csv").exists()
    capsys.readouterr()
    table, curves = hold(candidates=TWO, papers=papers)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "exams: 6 sittings, 1 of them finished before"
    assert len(lines) == 6
    assert lines[-1].startswith("exams: 6/6 ")
    assert kept.stat().st_mtime_ns == when
    assert list(table.columns) == COLUMNS
    assert list(curves.columns) == CURVE_COLUMNS
    assert list(zip(table["candidate"], table["exam"], table["length"], strict=True)) == [
        (name, exam, length) for name in TWO for exam, length in (("adding", 4), ("adding", 6), ("reber", 9))
    ]
    assert set(zip(curves["exam"], curves["iteration"], strict=True)) >= {("adding", 15), ("adding", 30)}
    diverged = table[table["exam"] == "reber"]
    assert diverged["score"].isna().all()
    assert not diverged["solved"].any()
    stray = tmp_path / "scratch" / "old.json"
    stray.write_text("{}")
    hold(candidates={"another name": TWO["gru"]}, papers=papers)
    assert capsys.readouterr().out.splitlines() == ["exams: 3 sittings, 3 of them finished before"]
    assert len(list((tmp_path / "scratch").glob("*.json"))) == 3


@pytest.mark.parametrize(
    ("changed", "same"),
    [
        ({"candidates": {"other": {"cell": "gru"}}}, True),
        ({"seeds": 1, "workers": 7}, True),
        ({"candidates": {"gru": {"cell": "gru", "bias": True}}}, False),
        ({"papers": {"adding": {"lengths": [4], "iterations": 399}}}, False),
    ],
    ids=["another name", "other workers", "another cell config", "another budget"],
)
def test_a_finished_sitting_is_kept_for_the_same_cell_exam_and_code_alone(changed, same):
    mine, other = only_sitting(), only_sitting(**changed)
    assert (mine.fingerprint("code") == other.fingerprint("code")) is same
    assert mine.fingerprint("code") != mine.fingerprint("edited code")


def test_a_worker_with_other_code_says_so():
    with pytest.raises(TrainingError, match="gru adding 4 seed 1: this worker runs other code than the driver"):
        run_sitting(only_sitting(), source_digest() + "x")


@pytest.fixture
def table():
    rows = [
        ("lstm", "adding", 100, 1, True, 1100, 0.005),
        ("lstm", "adding", 100, 2, True, 900, 0.006),
        ("rnn", "adding", 100, 1, False, 2000, 0.17),
        ("rnn", "adding", 100, 2, False, 130, math.nan),
        ("lstm", "reber", 9, 1, True, 500, 0.0),
    ]
    frame = pd.DataFrame(rows, columns=["candidate", "exam", "length", "seed", "solved", "iterations", "score"])
    return frame.assign(chance=1 / 6, pass_mark=0.01)


def test_the_table_names_every_exam_and_says_after_how_many_steps_it_was_solved(table):
    (axes,) = draw_exam_table(table).axes
    said = [text.get_text() for text in axes.texts]
    assert said[:4] == ["1,000 (2 of 2)", "score 0.0055", "not solved", "score 0.17"]
    assert said[4:6] == ["500", "score 0"]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["lstm", "rnn"]
    assert [tick.get_text().splitlines()[:2] for tick in axes.get_xticklabels()] == [
        ["adding problem", "length 100"],
        ["embedded Reber", "length 9"],
    ]


def test_curves_are_means_over_seeds_that_stay_where_a_seed_ended(table):
    looks = [
        ("lstm", 1, 100, 0.1),
        ("lstm", 1, 200, 0.01),
        ("lstm", 2, 100, 0.03),
        ("rnn", 1, 100, 0.17),
        ("rnn", 1, 200, 0.16),
    ]
    frame = pd.DataFrame(looks, columns=["candidate", "seed", "iteration", "score"]).assign(exam="adding", length=100)
    (axes,) = draw_exam_curves(frame, table).axes
    lstm, rnn = axes.get_lines()[:2]
    np.testing.assert_allclose(lstm.get_ydata(), [0.065, 0.02])
    np.testing.assert_allclose(rnn.get_ydata(), [0.17, 0.16])
    assert {text.get_text() for text in axes.texts} == {"chance", "pass mark"}
    assert axes.get_xlabel() == "training step"
    assert len(draw_exam_curves(frame).axes[0].texts) == 0
