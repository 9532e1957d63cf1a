"""What a scenario refuses although each value alone looks well: limits, keys nobody reads, clusters that cannot run."""

from __future__ import annotations

import copy

import pytest

from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from tests.places import QUICKSTART, SCENARIOS

CRASH = {"workers": [{"worker": 1, "at": "1 s", "back": "2 s"}], "policy": "wait"}


def load(*settings):
    return ScenarioFile(copy.deepcopy({"name": "test", **QUICKSTART}), "test.toml", settings)


def refusal(*settings):
    with pytest.raises(SimgmcError) as error:
        load(*settings)
    text = str(error.value)
    assert all(line.startswith("test.toml: ") for line in text.splitlines())
    return text


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ([("cluster.changes.failures", {"source": "worker99", "down": "1 s"})], "no link worker99 -> *"),
        ([("cluster.changes.wandering", {"interval": "1 us", "sigma": 1.0})], 'at least "1 ms"'),
        (
            [("cluster.changes.traffic", {"sources": 10_000, "size": "1 kB", "off": "1 ms"})],
            "events per simulated hour",
        ),
        (
            [("cluster.crashes", {**CRASH, "workers": [{"worker": 99, "at": "1 s", "back": "2 s"}]})],
            "worker99 cannot crash",
        ),
        ([("cluster.crashes", CRASH), ("cluster.overlap.buckets", 2)], "overlap and crashes together"),
        ([("cluster.overlap.buckets", 1001)], "at most 1,000"),
        ([("cluster.server_position", 99)], "cluster.server_position = 99"),
        (
            [("cluster.hosts.server.slowdown", 2.0)],
            "cluster.hosts.server.slowdown = 2.0: a server computes no gradients",
        ),
        (
            [("cluster.topology", "home-broadband"), ("cluster.hosts.worker1.bandwidth", "1 Mbit/s")],
            "cluster.hosts.worker1.bandwidth",
        ),
        (
            [("grid.cluster.collective", ["lock-step-ring"]), ("cluster.collective_options.slices", 4)],
            "lock-step-ring does not read it",
        ),
        ([("grid.cluster.collective", ["ring"]), ("cluster.collective_options.servers", 4)], "ring does not read it"),
        ([("cluster.collective_options.slices", 5000)], "at most 4,096"),
        ([("cluster.topology", {"name": "fat-tree", "k": 1000})], "k = 1000"),
        ([("cluster.topology", {"name": "torus", "columns": 10**30})], "columns"),
        ([("cluster.topology", {"name": "two-tier", "per_rack": 4, "oversubscription": 10**400})], "oversubscription"),
        ([("cluster.topology", {"name": "file", "file": "a\0b"})], "cannot read the network file"),
        ([("cluster.compute", {"profile": "nvidia-v100", "efficiency": 1e-320})], "cluster.compute.efficiency"),
        ([("name", "..")], 'name = ".."'),
        (
            [("cluster.collective", "sparse-reduce-scatter"), ("methods.GMC.compressor", "sign")],
            "it takes a sparsifier with 32-bit or log2 indices",
        ),
        (
            [("cluster.collective", "sparse-reduce-scatter"), ("methods.GMC.compressor.exempt_vectors", True)],
            "without exempt_vectors",
        ),
        ([("cluster.collective", "sparse-reduce-scatter"), ("workload.workers", 65)], "of at most 64 workers"),
    ],
)
def test_what_a_run_would_refuse_the_scenario_refuses(settings, says):
    assert says in refusal(*settings)


def test_hosts_that_cannot_reach_each_other_are_refused(tmp_path):
    file = tmp_path / "net.csv"
    names = [*(f"worker{k}" for k in range(8)), "server"]
    file.write_text(
        "source,destination,bandwidth_bytes_s,latency_s\n" + "".join(f"{name},switch,1e6,0.01\n" for name in names)
    )
    assert "no route worker0 -> server" in refusal(("cluster.topology", {"name": "file", "file": str(file)}))


@pytest.mark.parametrize("method", ["swarm-sgd", "osgp", "sgp"])
def test_a_gossip_graph_is_held_against_the_network_in_all_of_its_rounds(tmp_path, method):
    """Wires from neighbour to neighbour carry the first round of the one-peer exponential graph, not the second."""
    file = tmp_path / "net.csv"
    wires = [*((f"worker{k}", f"worker{(k + 1) % 8}") for k in range(8)), ("worker0", "server")]
    file.write_text(
        "source,destination,bandwidth_bytes_s,latency_s\n"
        + "".join(f"{end},{other},1e6,0.01\n{other},{end},1e6,0.01\n" for end, other in wires)
    )
    network = ("cluster.topology", {"name": "file", "file": str(file)}), ("cluster.collective", "ring")
    methods = [("methods", [{"algorithm": method}]), ("report.baseline", method)]
    load(*network, *methods, ("gossip", {"graph": "ring"}))
    assert "no route worker0 -> worker2" in refusal(*network, *methods, ("gossip", {"graph": "one-peer-exponential"}))


def test_a_drawn_host_takes_no_link_of_its_own(tmp_path):
    file = tmp_path / "net.csv"
    names = [*(f"worker{k}" for k in range(8)), "server"]
    file.write_text(
        "source,destination,bandwidth_bytes_s,latency_s\n"
        + "".join(f"{name},switch,1e6,0.01\nswitch,{name},1e6,0.01\n" for name in names)
    )
    topology = ("cluster.topology", {"name": "file", "file": str(file)})
    load(topology)
    assert "draws this host" in refusal(topology, ("cluster.hosts.worker3.latency", "1 ms"))


def nested(depth):
    value = {}
    for _ in range(depth):
        value = {"a": value}
    return value


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            [("workload.workers", 10**5000)],
            "workload.workers = a whole number of 16610 bits: a whole number must fit into 64 bits",
        ),
        ([("optimizer.learning_rate", 10**400)], "64 bits"),
        ([("grid.optimizer.learning_rate", [10**400])], "64 bits"),
        ([("workload.dataset", nested(5000))], "nested deeper than 30"),
        ([(".".join("a" * 5000), 1)], "nested deeper than 30"),
        ([("methods.\u00b2.momentum", 0.5)], "nothing is called"),
        ([(f"methods.{'9' * 5000}.momentum", 0.5)], "nothing is called"),
        (
            [(f"grid.cluster.hosts.worker{k}.slowdown", [1.0 + n for n in range(10)]) for k in range(6)],
            "points; at most 10,000",
        ),
        ([("optimizer.momentum", 1.0)], "optimizer.momentum = 1.0: must be a number of at least 0 and below 1"),
        ([("workload.workers", 0)], "workload.workers = 0: must be at least 1"),
        ([("optimizer.learning_rate", float("inf"))], "must be a finite number"),
        ([("optimizer.learning_rate", True)], "optimizer.learning_rate = true: needs a number"),
        ([("optimizer.learning_rate", "0.1")], 'optimizer.learning_rate = "0.1": needs a number'),
        ([("workload.epochs", True)], "workload.epochs = true: needs a number"),
        (
            [("optimizer.schedule", "cosin")],
            'must be one of "constant", "cosine", "multi-step", "polynomial", "wsd", "phases"',
        ),
        (
            [("methods.GMC.compressor", {"name": "sign", "bucket": 2**40})],
            "bucket = 1099511627776: must be a whole number of at least 1 and at most 2,147,483,647",
        ),
        ([("methods.GMC.compressor", {"name": "grbs", "ratio_in": 2**62})], "ratio_in"),
        ([("methods.GMC.compressor", {"name": "threshold", "threshold": 1e300})], "at most 1e+30"),
        ([("workload.evaluate_every", "1e-320 epochs")], "at least 1 round or 1e-6 epochs"),
        (
            [("optimizer.schedule", {"kind": "multi-step", "milestones": [1.0], "gamma": 1e308})],
            "gamma = 1e+308: must be a number above 0 and at most 1,000",
        ),
        ([("optimizer.weight_decay", 1e308)], "optimizer.weight_decay = 1e+308: must be at most 1000"),
        ([("methods.GMC.weight_decay", 1e308)], "must be at most 1000"),
        ([("workload.model", {"name": "mlp", "hidden": [10**12]})], "at most 1,000,000"),
        (
            [("workload.model", {"name": "mlp", "hidden": [10**6, 10**6]})],
            "have 1,000,064,000,000 parameters; at most 1,000,000,000",
        ),
        ([("cluster.latency", "1e308 s")], "a duration is at most 1e+09 s"),
        ([("cluster.bandwidth", "1e-320 B/s")], "at least 0.001 B/s"),
        ([("cluster.bandwidth", "1e300 GB/s")], "at most 1e+18 B/s"),
        ([("cluster.hosts.worker1.slowdown", 1e308)], "must be at most 1000000"),
        ([("methods.GMC.name", "x" * 61)], "may have at most 60 characters"),
    ],
)
def test_a_value_beyond_every_limit_is_one_clear_line(settings, says):
    assert says in refusal(*settings)


def test_a_scenario_file_may_begin_with_a_byte_order_mark(tmp_path):
    file = tmp_path / "marked.toml"
    file.write_bytes(b"\xef\xbb\xbf" + (SCENARIOS / "quickstart.toml").read_bytes())
    assert ScenarioFile.read(file).points


def test_a_file_name_with_a_nul_is_refused():
    with pytest.raises(SimgmcError, match="cannot read the scenario"):
        ScenarioFile.read("a\0.toml")


@pytest.mark.parametrize(
    ("groups", "why"), [([[0, 1, 2, 3]], "is one group"), ([[0], [1], [2], [3]], "a group of its own")]
)
def test_two_levels_need_something_to_group(groups, why):
    dense = (("methods", [{"algorithm": "dmsgd"}]), ("report", {"baseline": "dmsgd"}), ("workload.workers", 4))
    two_levels = (*dense, ("cluster.collective", "two-level"))
    load(*two_levels, ("cluster.collective_options", {"groups": [[0, 1], [2, 3]]}))
    said = refusal(*two_levels, ("cluster.collective_options", {"groups": groups}))
    assert why in said and "nothing to group" in said
