"""Workers die: Dask blames every task that was with them, the crew only those that die alone too."""

import pytest
from distributed import KilledWorker

from carrossel.errors import TrainingError
from carrossel.tuning.crew import cluster as module
from carrossel.tuning.crew.cluster import Cluster
from carrossel.tuning.trial import Job, Outcome
from studies import RECIPE

DONE = Outcome("complete", (0.1,))


class Future:
    """A task that has ended, in the way that was written down for it."""

    def __init__(self, client, name, ending):
        self._client, self._name, self._ending = client, name, ending
        self.status = "finished" if isinstance(ending, Outcome) else "error"

    def add_done_callback(self, call):
        call(self)

    def exception(self):
        return self._ending

    def result(self):
        if isinstance(self._ending, Outcome):
            return self._ending
        raise self._ending

    def release(self):
        self._client.out.discard(self._name)


class Client:
    """A scheduler of three threads, whose tasks end as foretold.

    Args:
        endings: of each trial, one for each time it is handed out; None for a worker's death.
    """

    def __init__(self, endings):
        self._endings = {name: iter(each) for name, each in endings.items()}
        self.out, self.beside = set(), []

    def subscribe_topic(self, topic, handler):
        self.tell = handler

    def nthreads(self):
        return {"one": 1, "two": 2}

    def submit(self, function, *arguments, pure):
        if function.__name__ == "_hold":
            return None
        name = arguments[1].name
        self.out.add(name)
        self.beside.append((name, len(self.out) - 1))
        ending = next(self._endings[name])
        return Future(self, name, KilledWorker(name, None, 1) if ending is None else ending)


class Desk:
    """Hands out trials; those from `replacements` only once a trial has failed, each in place of one."""

    def __init__(self, names, replacements=()):
        self._jobs = [Job("study", number, name, RECIPE) for number, name in enumerate(names)]
        self._replacements = [Job("study", 100 + number, name, RECIPE) for number, name in enumerate(replacements)]
        self.ended = {}

    def next_job(self):
        return self._jobs.pop(0) if self._jobs else None

    def end(self, job, outcome):
        assert job.name not in self.ended
        self.ended[job.name] = outcome
        if outcome.state == "failed" and self._replacements:
            self._jobs.append(self._replacements.pop(0))


def go(endings, replacements=()):
    client, desk = Client(endings), Desk([name for name in endings if name not in replacements], replacements)
    Cluster(client, None, "tuning").run(desk)
    return client, desk.ended


def test_a_trial_that_waited_behind_one_that_killed_its_worker_completes():
    client, ended = go({"killer": [None, None], "behind": [None, DONE], "elsewhere": [DONE], "later": [DONE] * 2})
    assert ended["behind"] == ended["elsewhere"] == ended["later"] == DONE
    assert ended["killer"].state == "failed"
    assert ended["killer"].reason.startswith("every worker that tried it died")
    assert client.beside[-2:] == [("killer", 0), ("behind", 0)]


def test_a_last_try_may_fail_for_a_reason_of_its_own():
    _, ended = go({"small disk": [None, OSError(28, "No space left on device")]})
    assert ended["small disk"].reason == "OSError: [Errno 28] No space left on device"


def test_a_trial_that_died_once_is_counted_once():
    client, ended = go({name: [None, DONE] for name in "abcdef"})
    assert ended == dict.fromkeys("abcdef", DONE)
    assert client.beside[-6:] == [(name, 0) for name in "abcdef"]


def test_what_replaces_a_failed_trial_runs_beside_others_again_and_may_be_a_suspect_itself():
    endings = {"killer": [None, None], "behind": [None, DONE], "second": [None, None], "third": [DONE]}
    client, ended = go(endings, replacements=["second", "third"])
    assert [name for name, outcome in ended.items() if outcome == DONE] == ["behind", "third"]
    assert [outcome.reason[:36] for outcome in ended.values() if outcome != DONE] == [
        "every worker that tried it died, at "
    ] * 2
    last_tries = [
        place for place, (name, _) in enumerate(client.beside) if name in [n for n, _ in client.beside[:place]]
    ]
    assert all(client.beside[place][1] == 0 for place in last_tries)


def test_a_last_try_stays_alone_whatever_comes_meanwhile():
    client, desk = Client({"killer": [None, None], "late": [DONE]}), Desk(["killer"])
    submit = client.submit

    def tell_of_another(function, *arguments, pure):
        if client.beside == [("killer", 0)]:  # now again
            client.tell((0, {"name": "nobody's", "point": []}))
            desk._jobs.append(Job("study", 9, "late", RECIPE))
        return submit(function, *arguments, pure=pure)

    client.submit = tell_of_another
    Cluster(client, None, "tuning").run(desk)
    assert client.beside == [("killer", 0), ("killer", 0), ("late", 0)]


def test_a_cluster_without_workers_ends_the_driver_in_one_line(monkeypatch):
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    monkeypatch.setattr(module, "_DESERTED_S", 0.05)
    client = Client({"lonely": [DONE]})
    client.nthreads = dict
    monkeypatch.setattr(Future, "add_done_callback", lambda *_: None)
    with pytest.raises(TrainingError, match="tuning: no worker is left"):
        Cluster(client, None, "tuning").run(Desk(["lonely"]))
