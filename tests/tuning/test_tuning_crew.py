"""Workers die: Dask blames every task that was with them, the crew only those that die alone too."""

import pytest
from distributed import KilledWorker

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
        pass

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
    def __init__(self, names):
        self._jobs = iter([Job("study", number, name, RECIPE) for number, name in enumerate(names)])
        self.ended = {}

    def next_job(self):
        return next(self._jobs, None)

    def end(self, job, outcome):
        assert job.name not in self.ended
        self.ended[job.name] = outcome


@pytest.fixture
def go():
    def run(endings):
        client, desk = Client(endings), Desk(endings)
        Cluster(client, None, "tuning").run(desk)
        return client, desk.ended

    return run


def test_a_trial_that_waited_behind_one_that_killed_its_worker_completes(go):
    client, ended = go({"killer": [None, None], "behind": [None, DONE], "elsewhere": [DONE], "later": [DONE] * 2})
    assert ended["behind"] == ended["elsewhere"] == ended["later"] == DONE
    assert ended["killer"].state == "failed"
    assert ended["killer"].reason.startswith("every worker that tried it died")
    assert client.beside[-2:] == [("killer", 0), ("behind", 0)]


def test_a_last_try_may_fail_for_a_reason_of_its_own(go):
    _, ended = go({"small disk": [None, OSError(28, "No space left on device")]})
    assert ended["small disk"].reason == "OSError: [Errno 28] No space left on device"


def test_a_trial_that_died_once_is_counted_once(go):
    _, ended = go({name: [None, DONE] for name in "abcdef"})
    assert ended == dict.fromkeys("abcdef", DONE)
