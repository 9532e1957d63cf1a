"""Asynchronous methods of one's own: run, stopped and gone on, why, timeline, replay; and their mistakes."""

import contextlib
import itertools

import pytest
from click.testing import CliRunner

from simgmc.cli import main
from simgmc.experiment.under_way.events import EventsUnderWay
from simgmc.scenario import ScenarioFile
from tests.end_to_end.stopping import Killed, files, run

METHODS = '''
from dataclasses import dataclass

import torch

from simgmc import SERVER, Algorithm, Compressor, Exchange, Gradient, Request, Send, Collect, option

CALLS = {}


@dataclass(frozen=True)
class Meeting(Algorithm):
    """Meets a neighbour that it draws from torch's generator, after a local step with noise."""

    asynchronous = True

    compressor: Compressor = option("what is sent of a model's move")

    def start(self, worker):
        worker.residual = worker.zeros()
        worker.met = 0

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.params = worker.params - worker.lr * (gradient + 0.01 * torch.randn_like(gradient))
        partner = worker.neighbours[int(torch.randint(len(worker.neighbours), ()))]
        message = self.compressor(worker.params + worker.residual, worker.randomness())
        worker.residual = 0.5 * message.subtract_from(worker.params + worker.residual)
        worker.params = (worker.params + (yield Request(partner, message))) / 2
        worker.met = worker.met + 1

    def serve(self, asked, asker, message):
        reply = asked.params + 0.01 * torch.randn_like(asked.params)
        asked.params = (asked.params + message) / 2
        return [(asker, reply)]

    def metrics(self, worker):
        return {"meetings": worker.met if hasattr(worker, "met") else 0}


@dataclass(frozen=True)
class Central(Algorithm):
    """A server that damps what is late; what workers hold is nobody's business."""

    asynchronous = True
    centralised = True

    def start_server(self, server):
        server.late = [0] * server.workers

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.params = yield Request(SERVER, gradient)

    def serve(self, asked, asker, message):
        asked.late = [late + 1 for late in asked.late]
        asked.params = asked.params - asked.lr / asked.late[asker] * message
        asked.late[asker] = 0
        return [(asker, asked.params)]


class Idle(Algorithm):
    asynchronous = True

    def round(self, worker):
        yield Gradient(at=worker.params)


class Deaf(Algorithm):
    asynchronous = True
    centralised = True

    def round(self, worker):
        worker.params = yield Request(SERVER, (yield Gradient(at=worker.params)))

    def serve(self, asked, asker, message):
        return [(asker, asked.params)]


class Forgetful(Meeting):
    def serve(self, asked, asker, message):
        CALLS[asker] = CALLS.get(asker, 0) + 1
        return super().serve(asked, asker, message)


class Wrong(Central):
    def serve(self, asked, asker, message):
        return [(asker, asked.parms)]
'''
SCENARIO = f"""
seeds = [1]
[workload]
workers = 4
rounds = 12
evaluate_every = "3 rounds"
[workload.problem]
name = "quadratic"
matrices = {[[1.0, 2.0, 0.5, 1.0]] * 4}
minimisers = {[[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]] * 2}
start = [3.0, -3.0, 1.0, 2.0]
[optimizer]
learning_rate = 0.1
momentum = 0
[gossip]
graph = "ring"
[cluster]
bandwidth = "1 Mbit/s"
latency = "5 ms"
collective = "ring"
compute = {{ gradient = "20 ms", compression = "1 ms", aggregation = "1 ms" }}
stragglers = {{ sigma = 0.3 }}
[[methods]]
algorithm = "my_asynchronous:Meeting"
compressor = {{ name = "top-k", density = 0.5 }}
[[methods]]
algorithm = "my_asynchronous:Central"
[[methods]]
algorithm = "dmsgd"
[report]
metric = "gap"
baseline = "dmsgd"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_asynchronous.py").write_text(METHODS)
    (tmp_path / "mine.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simgmc.results.report.draw_plots", lambda *arguments, **options: {})
    return tmp_path


def say(*arguments, status=0):
    done = CliRunner().invoke(main, list(map(str, arguments)))
    assert done.exit_code == status, done.output
    return " ".join(done.output.split())


@pytest.mark.slow
def test_an_asynchronous_method_of_ones_own_in_every_verb(folder):
    assert "what is sent of a model's" in say("list", "algorithms", "my_asynchronous:Meeting")
    assert "Meeting" in say("run", "mine.toml", "--dry-run")
    heard = say("run", "mine.toml")
    assert "does its" not in heard
    assert "Meeting" in say("why", "runs/mine") and "Central" in say("why", "runs/mine")
    assert "wrote" in say("timeline", "runs/mine", "--method", "Meeting", "--rounds", "1:3")
    left_out = say("replay", "runs/mine", "--set", "cluster.bandwidth=10 Mbit/s")
    assert "Meeting: the clock drives its training" in left_out and "Central: the clock drives" in left_out
    assert b"meetings" in (folder / "runs/mine/other_metrics.csv").read_bytes()


def test_it_goes_on_where_it_was_stopped_whatever_it_draws(folder, monkeypatch):
    file = ScenarioFile.read("mine.toml")
    run(file, folder / "never", every=1e9)
    save = EventsUnderWay._save
    for moment in (5, 17, 23, None):  # the last one within the second method's training, after some in the first
        count = itertools.count(1)

        def saved(self, checkpoints, count=count, moment=moment):
            save(self, checkpoints)
            if next(count) == moment:
                raise Killed

        monkeypatch.setattr(EventsUnderWay, "_save", saved)
        with pytest.raises(Killed) if moment else contextlib.nullcontext():
            run(file, folder / "stopped")
    assert files(folder / "stopped") == files(folder / "never")


def test_what_may_not_be_meant_is_said_once_and_a_mistake_with_its_place(folder):
    """Of methods that are not right, all in one run, and of nothing else."""
    text = SCENARIO.partition("[[methods]]")[0]
    for name in ("Idle", "Deaf", "Forgetful", "Central"):
        text += f'[[methods]]\nalgorithm = "my_asynchronous:{name}"\n'
        text += 'compressor = "identity"\n' if name == "Forgetful" else ""
    (folder / "mine.toml").write_text(text + '[report]\nmetric = "gap"\n')
    heard = say("run", "mine.toml")
    for says in (
        "Idle has sent nothing in its first 3 rounds: does its program yield Exchange, Request or Send?",
        "Idle has changed nothing in its first 3 rounds: does its program set worker.params?",
        "Deaf has changed nothing in its first 2 rounds: does its serve(...) set asked.params?",
        "Forgetful: my_asynchronous.CALLS changes while it runs; a run that is stopped and goes on loses that",
    ):
        assert heard.count(says) == 1, (says, heard)
    assert heard.count("does its") == 3 and heard.count("changes while it runs") == 1
    wrong = say(
        "run",
        "mine.toml",
        "--method",
        "Wrong",
        "--out",
        "b",
        "--set",
        "methods.3.algorithm=my_asynchronous:Wrong",
        status=2,
    )
    assert "serve(): AttributeError" in wrong and 'did you mean "params"?' in wrong and "Traceback" not in wrong
