"""Parts of one's own, of every kind, in every verb: by import path, from an installed package, from Python."""

import csv
import os
import re
import subprocess
import sys
from dataclasses import dataclass

import networkx as nx
import pytest
from click.testing import CliRunner

import simgmc
from simgmc.cli import main
from simgmc.commands.new import KINDS, template
from simgmc.core.errors import SimgmcError
from tests.places import ROOT

PARTS = '''
from dataclasses import dataclass

import networkx as nx
import numpy as np

from my_helper import KEPT
from simgmc import (
    Algorithm, Average, Collective, Compressor, Condition, Gradient, Graph, Mix, Topology, add_host, add_wire,
    keep, option, try_out,
)


@dataclass(frozen=True)
class Fading(Algorithm):
    """What is not sent fades."""

    compressor: Compressor = option("what is sent")
    fading: float = option("share that is kept", KEPT, at_least=0, at_most=1)

    def start(self, worker):
        worker.residual = worker.zeros()

    def round(self, worker):
        wanted = worker.residual + (yield Gradient(at=worker.params))
        message = self.compressor(wanted, worker.randomness())
        worker.residual = self.fading * message.subtract_from(wanted)
        worker.params = worker.params - worker.lr * (yield Average(message))


@dataclass(frozen=True)
class Gossiping(Algorithm):
    """Mixes."""

    mixing = "doubly-stochastic"

    def round(self, worker):
        gradient = yield Gradient(at=worker.params)
        worker.params = yield Mix(worker.params - worker.lr * gradient)


@dataclass(frozen=True)
class Large(Compressor):
    """What is large."""

    times: float = option("times the mean", 1.0, at_least=0)

    def __call__(self, vector, random):
        size = vector.abs()
        return keep(vector, size >= self.times * size.mean(dim=-1, keepdim=True))


@dataclass(frozen=True)
class Chain(Topology):
    """In a line."""

    latency: float = option("of a wire", "1 ms", unit="s")

    def build(self, hosts):
        graph = nx.DiGraph()
        for number, host in enumerate(hosts):
            graph.add_node(f"s{number}", kind="switch")
            add_host(graph, host, f"s{number}")
            if number:
                add_wire(graph, f"s{number - 1}", f"s{number}", 1e9, self.latency)
        return graph


@dataclass(frozen=True)
class Everyone(Collective):
    """To all."""

    extra: int = option("bytes more in each message", 0, at_least=0)

    def send(self, flows, average, aggregation):
        for receiver in range(flows.workers):
            others = [sender for sender in range(flows.workers) if sender != receiver]
            flows.finish(receiver, [flows.transfer(one, receiver, average.up[one] + self.extra) for one in others])


@dataclass(frozen=True)
class Slow(Condition):
    """The first rounds take longer."""

    static = True
    whole = True
    rounds: int = option("rounds", 2)

    def factors(self, seed, round, step, workers):
        return np.full(workers, 3.0) if round < self.rounds else None


@dataclass(frozen=True)
class Chords(Graph):
    """A ring, both ways."""

    def edges(self, workers):
        return [(a, b % workers) for a in range(workers) for b in (a + 1, a - 1)]


def saw(step, steps):
    """A schedule that falls three times."""
    return 1 - (3 * step / steps) % 1
'''
SCENARIO = f"""
seeds = [1, 2]
[workload]
workers = 4
rounds = 6
evaluate_every = "3 rounds"
[workload.problem]
name = "quadratic"
matrices = {[[1.0, 2.0, 0.5, 1.0]] * 4}
minimisers = {[[1.0, 0.0, 2.0, 1.0], [0.0, 1.0, 0.0, 1.0]] * 2}
start = [3.0, -3.0, 1.0, 2.0]
[optimizer]
learning_rate = 0.1
momentum = 0
schedule = "my_parts:saw"
[gossip]
graph = "my_parts:Chords"
[cluster]
topology = {{ name = "my_parts:Chain", latency = "2 ms" }}
bandwidth = "1 Mbit/s"
latency = "5 ms"
collective = "my_parts:Everyone"
collective_options = {{ extra = 1000 }}
compute = {{ gradient = "20 ms", compression = "1 ms", aggregation = "1 ms" }}
"my_parts:Slow" = {{ rounds = 1 }}
[[methods]]
algorithm = "my_parts:Fading"
compressor = {{ name = "my_parts:Large", times = 0.9 }}
[[methods]]
algorithm = "my_parts:Gossiping"
[report]
metric = "gap"
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    (tmp_path / "my_parts.py").write_text(PARTS)
    (tmp_path / "my_helper.py").write_text("KEPT = 0.5\n")
    (tmp_path / "mine.toml").write_text(SCENARIO)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("simgmc.results.report.draw_plots", lambda *arguments, **options: {})
    return tmp_path


def say(*arguments, status=0):
    done = CliRunner().invoke(main, list(arguments))
    assert done.exit_code == status, done.output
    assert "Traceback" not in done.output
    return done.output


def times(out):
    return [(row["method"], row["seed"], float(row["sim_time_s"])) for row in csv.DictReader(open(out / "metrics.csv"))]


def test_every_kind_in_every_verb(folder):
    heard = say("run", "mine.toml")
    assert heard.startswith(f"code     my_parts ({folder}/my_parts.py, sha256 ")
    assert heard.index("my_helper") < heard.index("scenario mine.toml")
    # Two hops of 5 ms and up to three of 2 ms; 20 ms of gradient, three times as long once.
    first = next(time for method, _, time in times(folder / "runs/mine") if method == "Gossiping" and time)
    assert first > 0.06 + 2 * 0.02 + 3 * 0.012
    assert "my_parts:Everyone" in say("run", "mine.toml", "--dry-run")
    again = say("run", "mine.toml", "--out", "again")
    assert (folder / "again/metrics.csv").read_bytes() == (folder / "runs/mine/metrics.csv").read_bytes() and again
    assert "Fading" in say("why", "runs/mine") and "wrote" in say("timeline", "runs/mine", "--method", "Fading")
    quick = say("replay", "runs/mine", "--set", "cluster.topology=star", "--set", "cluster.my_parts:Slow.rounds=6")
    assert "changed" not in quick
    (folder / "my_net.py").write_text(PARTS)
    others = {"topology": "star", "collective": "my_net:Everyone", "collective_options": "{extra = 5}"}
    said = say("replay", "runs/mine", "--out", "b", *(f"--set=cluster.{key}={one}" for key, one in others.items()))
    assert "code     my_net" in said and "─ my_net:Everyone" in said
    assert "─ ring-all-gather" in say(
        "replay", "runs/mine", "--out", "c", "--set", "cluster.collective=ring-all-gather",
        "--set", "cluster.collective_options={}",
    )  # fmt: skip
    listed = say("list", "collectives", "my_parts:Everyone")
    assert "bytes more in each message" in listed and "a whole number of at least 0" in listed
    resolved = (folder / "runs/mine/scenario.toml").read_text()
    assert resolved.count("sha256 = ") == 2 and f'file = "{folder}/my_helper.py"' in resolved


def test_a_run_goes_on_with_its_own_code_alone_and_a_replay_runs_it(folder):
    say("run", "mine.toml")
    (folder / "my_helper.py").write_text("KEPT = 0.25\n")
    refused = say("run", "mine.toml", status=2)
    assert f"error: {folder}/my_helper.py has changed since the run in runs/mine began" in refused
    assert "is not what it was when this scenario was resolved" in say(
        "run", "runs/mine/scenario.toml", "--out", "b", status=2
    )
    heard = say("replay", "runs/mine", "--out", "replay")
    assert f"note     {folder}/my_helper.py has changed since the run: the copy that runs/mine keeps is used" in heard
    assert times(folder / "replay") == times(folder / "runs/mine")
    (folder / "my_parts.py").unlink()
    say("replay", "runs/mine", "--out", "gone")
    assert times(folder / "gone") == times(folder / "runs/mine")


@pytest.mark.slow
def test_what_needs_no_torch_needs_none_with_parts_of_ones_own(folder):
    say("run", "mine.toml")
    code = """
import sys
from simgmc.cli import main
for verb in (["why", "runs/mine"], ["replay", "runs/mine"], ["timeline", "runs/mine"], ["check", "mine.toml"]):
    main(verb, standalone_mode=False)
assert "torch" not in sys.modules
"""
    where = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=folder, env=where)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (["methods.0.algorithm=my_parts:Large"], "the class Large does not derive from simgmc.Algorithm"),
        (["methods.0.algorithm=my_parts:np"], "my_parts:np is of type module, not a class that derives from"),
        (["methods.0.fadin=1"], 'methods.Fading.fadin = 1: unknown key; did you mean "fading"?'),
        (["methods.0.fading=2"], "methods.Fading.fading = 2: must be a number of at least 0 and at most 1"),
        (
            ["methods.0.compressor={ name = 'my_parts:Large', time = 1 }"],
            'my_parts:Large has no option "time"; did you',
        ),
        (
            ["cluster.collective_options.extra=-1"],
            "cluster.collective_options.extra = -1: must be a whole number of at",
        ),
        (["cluster.topology=my_parts:Chan"], "has no 'Chan'; did you mean \"Chain\"?"),
        (["cluster.my_parts:Slow.rounds=0"], 'cluster."my_parts:Slow".rounds = 0: must be a whole number of at least'),
        (["gossip.graph=my_party:Chords"], "there is no module 'my_party' in "),
    ],
)
def test_a_mistake_in_what_a_scenario_says_is_one_line(folder, settings, says):
    settings = [part for one in settings for part in ("--set", one)]
    (told,) = re.findall("^error.*", say("check", "mine.toml", *settings, status=2), re.MULTILINE)
    assert says in told


def test_an_installed_package_adds_to_the_names(folder, monkeypatch):
    package = folder / "site"
    (package / "fancy-1.0.dist-info").mkdir(parents=True)
    (package / "fancy-1.0.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: fancy\nVersion: 1.0\n")
    (package / "fancy-1.0.dist-info/entry_points.txt").write_text(
        "[simgmc.algorithms]\nfancy-sgd = fancy:Fancy\nbroken = fancy:Missing\ngmc = fancy:Fancy\n"
    )
    (package / "fancy.py").write_text(PARTS.replace("class Fading", "class Fancy").replace("KEPT", "0.5", 2).replace(
        "from my_helper import 0.5\n", ""))  # fmt: skip
    monkeypatch.syspath_prepend(str(package))
    from simgmc.algorithms import ALGORITHMS, ENTRIES

    for registry in (ALGORITHMS, ENTRIES):
        monkeypatch.delitem(vars(registry), "installed", raising=False)
    listed = say("list", "algorithms")
    assert "fancy-sgd" in listed and "What is not sent fades." in listed and "broken" in listed
    assert "share that is kept" in say("list", "algorithms", "fancy-sgd")
    heard = say("run", "mine.toml", "--set", "methods.0.algorithm=fancy-sgd")
    assert f"code     fancy ({package}/fancy.py" in heard and "fancy-sgd" in heard
    for registry in (ALGORITHMS, ENTRIES):
        vars(registry).pop("installed", None)


@dataclass(frozen=True)
class Plain(simgmc.Algorithm):
    """Given in Python."""

    compressor: simgmc.Compressor = simgmc.option("what is sent")

    def round(self, worker):
        gradient = yield simgmc.Gradient(at=worker.params)
        mean = yield simgmc.Average(self.compressor(gradient, worker.randomness()))
        worker.params = worker.params - worker.lr * mean


@dataclass(frozen=True)
class All(simgmc.Compressor):
    """Everything."""

    def __call__(self, vector, random):
        return simgmc.keep(vector, vector == vector)


@dataclass(frozen=True)
class Hub(simgmc.Topology):
    """One switch."""

    def build(self, hosts):
        graph = nx.DiGraph()
        graph.add_node("hub", kind="switch")
        for host in hosts:
            simgmc.add_host(graph, host, "hub")
        return graph


def test_classes_and_objects_from_python_in_the_place_of_names(folder):
    import tomllib

    content = tomllib.loads(SCENARIO)
    content["cluster"] |= {"topology": Hub(), "collective": "ring-all-gather"}
    del content["cluster"]["collective_options"]
    content["methods"] = [{"algorithm": Plain(All())}, {"algorithm": Plain, "name": "class", "compressor": All}]
    run = simgmc.run(content, out="python", quiet=True)
    found = times(folder / "python")
    assert {method for method, *_ in found} == {"Plain", "class"}
    assert [time for method, _, time in found if method == "Plain"] == [t for m, _, t in found if m == "class"]
    assert simgmc.replay(run, set={"cluster.latency": "50 ms"}, out="far", quiet=True).summary is not None


# what is public -------------------------------------------------------------------------------


def test_what_is_public_stays():
    methods = {"Algorithm", "Worker", "Program", "Optimizer", "WithOptimizer", "momentum", "option"}
    effects = {"Gradient", "Average", "Mix", "Maximum", "Start", "Wait"}
    effects |= {"Exchange", "Request", "Send", "Collect", "SERVER"}
    compressors = {"Compressor", "keep", "share", "encoded"}
    networks = {"Collective", "Flows", "Topology", "add_host", "add_link", "add_wire", "Condition"}
    others = {"Graph", "Partition", "SimgmcError"}
    trying = {"algorithm", "compressor", "try_out", "exchange_time"}
    running = {"run", "load", "replay", "compare", "map", "utilisation", "Run", "Comparison", "plot"}
    assert set(simgmc.__all__) == methods | effects | compressors | networks | others | trying | running
    for name in simgmc.__all__:
        assert getattr(simgmc, name).__doc__ or name == "Program", name


@pytest.mark.parametrize("kind", KINDS)
def test_a_start_is_written_once_and_passes_its_test(kind, folder):
    written = say("new", kind, f"my_{kind}.py")
    assert f"wrote my_{kind}.py" in written and (folder / f"my_{kind}.py").read_text() == template(kind)
    assert "is there already" in say("new", kind, f"my_{kind}.py", status=2)
    names = {}
    exec(compile(template(kind), f"my_{kind}.py", "exec"), names)
    (test,) = (one for name, one in names.items() if name.startswith("test_"))
    test()
    path = re.search(rf"my_{kind}:\w+", written)[0]
    plural = "topologies" if kind == "topology" else f"{kind}s"
    assert path in say("list", plural, path)


def test_the_page_on_ones_own_is_what_simgmc_new_writes():
    page = (ROOT / "scenarios/OWN.md").read_text().partition("## Your own method in 30 lines\n")[2]
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert blocks[:2] == [template("algorithm"), template("compressor")]
    for block in blocks[:2]:
        assert len(block.partition("\n\n\ndef test")[0].splitlines()) <= 30


def test_a_start_of_an_unknown_kind_or_name_is_refused(folder):
    assert 'did you mean "topology"' in say("new", "topologi", "x.py", status=2)
    assert "letters, digits and underscores" in say("new", "topology", "my-net.py", status=2)
    with pytest.raises(SimgmcError):
        template("nothing")
