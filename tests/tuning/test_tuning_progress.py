"""What people see while trials run: lines in a log, a live view on a terminal."""

import io

from rich.console import Console

from carrossel.tuning.progress import Best, Lines, Screen, duration, make_progress
from carrossel.tuning.trial import Outcome, Point

VALUES = {"cell.hidden_size": 41, "training.learning_rate": 0.003118}


def point(value=0.0012, fold=0, epoch=2):
    return Point(step=epoch, fold=fold, epoch=epoch, skill=0.001, value=value, train_loss=1.0, validation_loss=1.0)


COMPLETE = Outcome("complete", (0.0031,), (point(),), seconds=2.13, parameters=100)
PRUNED = Outcome("pruned", (), (point(),), "after 3 epochs, behind the trials before it", 0.8, 100)
FAILED = Outcome("failed", (), (), "the loss became nan [epoch 2]", 0.2)


def draw(screen, width=100):
    console = Console(width=width, file=io.StringIO())
    console.print(screen.render())
    return console.file.getvalue()


def shown(clock=lambda: 0.0):
    return Screen(Console(file=io.StringIO(), width=100), clock=clock)


def test_each_ended_trial_is_a_line_with_its_skill_or_reason_and_its_values():
    told = []
    lines = Lines(told.append)
    for number, outcome in ((14, COMPLETE), (15, PRUNED), (16, FAILED)):
        lines.started("tune@bitcoin", number, VALUES)
        lines.reported("tune@bitcoin", number, point())
        lines.ended("tune@bitcoin", number, outcome, finished=12, trials=60, best=Best(9, 0.0042))
    drawn = "cell.hidden_size=41 training.learning_rate=0.00312"
    assert told == [
        f"tune@bitcoin: 12/60 trial 14 complete: skill +0.31 % (best +0.42 % of trial 9), 2.1 s, {drawn}",
        (
            "tune@bitcoin: 12/60 trial 15 pruned: after 3 epochs, behind the trials before it, skill +0.12 % "
            f"(best +0.42 % of trial 9), 0.8 s, {drawn}"
        ),
        f"tune@bitcoin: 12/60 trial 16 failed: the loss became nan [epoch 2] (best +0.42 % of trial 9), 0.2 s, {drawn}",
    ]


def test_before_the_first_complete_trial_a_line_names_no_best_and_an_impossible_trial_no_values():
    told = []
    Lines(told.append).ended("tune@bitcoin", 0, FAILED, finished=0, trials=60, best=None)
    assert told == ["tune@bitcoin: 0/60 trial 0 failed: the loss became nan [epoch 2], 0.2 s"]


def test_the_screen_shows_who_runs_how_far_and_how_long_it_will_take():
    now = [0.0]
    screen = shown(lambda: now[0])
    screen.started("tune@bitcoin", 0, VALUES)
    assert "starting" in draw(screen)
    screen.started("tune@bitcoin", 1, VALUES)
    screen.reported("tune@bitcoin", 1, point(fold=1, epoch=0))
    now[0] = 60.0
    screen.ended("tune@bitcoin", 0, COMPLETE, finished=10, trials=12, best=Best(0, 0.0031))
    view = draw(screen)
    # One trial in a minute, two to go: nine were there before, and say nothing of the pace.
    assert "10/12 · best +0.31 % of trial 0 · 60 trials/h · 2 min left" in view
    rows = [" ".join(line.split()) for line in view.splitlines()]
    assert "trial 1 fold 2, epoch 1 +0.12 % hidden_size=41 learning_rate=0.00312" in rows
    assert "trial 0 2.1 s complete: skill +0.31 %" in rows


def test_studies_side_by_side_have_a_bar_each_and_their_trials_a_label():
    screen = shown()
    screen.started("odyssey gru", 0, VALUES)
    screen.started("odyssey lstm", 0, {"cell.hidden_size": 3, "head.hidden_size": 4})
    view = draw(screen)
    assert view.count("starting") == 2
    assert "odyssey gru 0" in view
    assert "cell.hidden_size=3 head.hidden_size=4" in view  # which of the two is meant can't be told without


def test_many_running_trials_are_cut_and_only_the_last_ended_stay():
    screen = shown()
    for number in range(30):
        screen.started("tune@bitcoin", number, {})
    for number in range(10):
        screen.ended("tune@bitcoin", number, FAILED, finished=0, trials=60, best=None)
    view = draw(screen)
    assert "and 8 more" in view
    assert view.count("failed: the loss became nan [epoch 2]") == 5
    assert "trial 9 " in view
    assert "trial 4 " not in view


def test_a_report_of_a_trial_that_ended_is_nothing():
    screen = shown()
    screen.reported("tune@bitcoin", 0, point())
    assert "trial 0" not in draw(screen)


def test_a_terminal_gets_the_screen_and_a_file_gets_lines():
    told = []
    terminal = Console(file=io.StringIO(), force_terminal=True, width=100)
    with make_progress(told.append, terminal) as progress:
        progress.started("tune@bitcoin", 0, VALUES)
        progress.ended("tune@bitcoin", 0, COMPLETE, finished=1, trials=1, best=Best(0, 0.0031))
    assert "1/1 · best +0.31 % of trial 0" in terminal.file.getvalue()
    assert not told
    with make_progress(told.append, Console(file=io.StringIO())) as progress:
        progress.ended("tune@bitcoin", 0, COMPLETE, finished=1, trials=1, best=Best(0, 0.0031))
    assert told == ["tune@bitcoin: 1/1 trial 0 complete: skill +0.31 % (best +0.31 % of trial 0), 2.1 s"]


def test_durations_are_said_as_people_do():
    assert [duration(seconds) for seconds in (8.2, 130, 7320)] == ["8 s", "2 min", "2 h 02 min"]
