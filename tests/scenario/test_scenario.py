"""Scenario files: what is valid, what is refused, and that a refusal is one clear line."""

from __future__ import annotations

import copy
import re
import tomllib

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.core.units import BANDWIDTH, DURATION, parse
from simgmc.experiment.header import describe, skipped_lines
from simgmc.scenario import ScenarioFile
from tests import small_runs
from tests.places import QUICKSTART, SCENARIOS


def load(*settings_, base=QUICKSTART):
    return ScenarioFile(copy.deepcopy({"name": "test", **base}), "test.toml", settings_)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_every_shipped_scenario_is_valid_and_opens_with_its_question_and_duration(path):
    ScenarioFile.read(path)
    head = re.match(r"((?:#.*\n)+)", path.read_text())[1]
    assert "?" in head and re.search(r"[Tt]akes? .*(second|minute|hour)", head)


@pytest.mark.parametrize("path", sorted(SCENARIOS.glob("*.toml")), ids=lambda path: path.stem)
def test_the_resolved_scenario_is_a_scenario_that_resolves_to_itself(path):
    file = ScenarioFile.read(path)
    again = ScenarioFile(tomllib.loads(file.resolved()), "resolved.toml")
    assert again.resolved() == file.resolved()
    assert [point.scenario.written() for point in again.points] == [point.scenario.written() for point in file.points]


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("cluster.bandwith", "1 Mbit/s", 'cluster.bandwith = "1 Mbit/s": unknown key; did you mean "bandwidth"?'),
        ("cluster.bandwidth", 10, "cluster.bandwidth = 10: needs a number with a unit"),
        ("cluster.bandwidth", "10", 'cluster.bandwidth = "10": has no unit'),
        ("cluster.bandwidth", "10 Mbps", 'did you mean "Mbit/s"?'),
        ("cluster.bandwidth", "0 Mbit/s", "must be above 0"),
        ("cluster.latency", "-1 ms", "must be at least 0"),
        ("cluster.latency", "1 MB", "unknown unit 'MB'"),
        ("cluster.compute.gradient", "0 ms", "must be above 0"),
        ("cluster.compute.compression", 0, "needs a number with a unit"),
        ("cluster.compute", {"gradient": "20 ms"}, "cluster.compute.compression: missing"),
        ("cluster.compute", {"profile": "v100", "efficiency": 0.3}, 'did you mean "nvidia-v100"?'),
        ("cluster.compute", {"profile": "nvidia-v100"}, "cluster.compute.efficiency: missing"),
        ("grid.cluster.collective", ["rinf"], 'did you mean "ring"?'),
        ("cluster.topology", "sta", "cluster.topology"),
        ("cluster.hosts.worker9.slowdown", 2, "cluster.hosts.worker9"),
        ("cluster.hosts.worker1", {"bandwidth": "1 Mbit/s", "up": "2 Mbit/s"}, "either bandwidth"),
        ("cluster.stragglers.sigma", -0.1, "cluster.stragglers.sigma"),
        ("workload.workers", "8", 'workload.workers = "8"'),
        ("workload.workers", 0, "workload.workers = 0"),
        ("workload.workers", True, "workload.workers = true"),
        ("workload.batch_per_worker", 1000, "at most 179 per worker"),
        ("workload.rounds", 10, "exactly one of epochs and rounds"),
        ("workload.evaluate_every", "1 week", 'must be like "1 epoch"'),
        ("workload.dataset", "digit", 'did you mean "digits"?'),
        ("workload.model", "resnet21", "unknown model; known: logistic, mlp"),
        ("workload.partition.alpha", -1, "workload.partition.alpha = -1: must be a number above 0"),
        ("optimizer.momentum", 1.0, "optimizer.momentum = 1.0"),
        ("optimizer.learning_rate", float("nan"), "optimizer.learning_rate = nan"),
        ("optimizer.schedule", "cosin", 'did you mean "cosine"?'),
        ("optimizer.schedule", {"kind": "multi-step"}, "milestones"),
        ("methods.GMC.algorithm", "gmcc", 'did you mean "gmc"?'),
        ("methods.GMC.compressor", "top_k", 'did you mean "top-k"?'),
        ("methods.GMC.compressor.densty", 0.1, "densty"),
        ("methods.GMC.compressor.density", 2.0, "compressor.density = 2.0: must be a number above 0 and at most 1"),
        ("methods.GMC.compressor.density", float("nan"), "density"),
        ("methods.GMC.compressor.count", 5, "exactly one"),
        ("methods.GMC.momentun", 0.5, 'did you mean "momentum"?'),
        ("methods.DMSGD.compressor", "top-k", "unknown key"),
        ("methods.GMC.name", "DGC", "two methods have this name"),
        ("methods.GNC.momentum", 0.5, 'did you mean "GMC"?'),
        (
            "methods.GMC",
            {"algorithm": "cser", "variant": "block", "error_compressor": {"name": "top-k", "density": 0.1}},
            "methods.cser.error_compressor = { name = \"top-k\"",
        ),
        ("report.target", 1.5, "report.target = 1.5"),
        ("report.baseline", "DMGD", 'did you mean "DMSGD"?'),
        ("seeds", [1, 1], "a seed is listed twice"),
        ("seeds", [], "seeds = []"),
        ("grid.cluster.bandwidth", "1 Mbit/s", "non-empty list"),
        ("grid.seeds", [1], "cannot vary within a grid"),
        ("grid.cluster.bandwidth", ["1 Mbit/s", "1 Mbps"], 'cluster.bandwidth = "1 Mbps"'),
        ("grid.cluster.collective", ["ring-all-reduce"], "cover different coordinates"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_with_its_place_and_what_would_be_right(key, value, says):
    with pytest.raises(SimgmcError) as refusal:
        load((key, value))
    assert says in str(refusal.value)
    assert all(line.startswith("test.toml: ") for line in str(refusal.value).splitlines())


def test_all_mistakes_are_reported_at_once():
    with pytest.raises(SimgmcError) as refusal:
        load(("cluster.bandwidth", 3), ("optimizer.momentum", 2), ("report.target", 7))
    assert len(str(refusal.value).splitlines()) == 3


def test_a_collective_that_sums_in_flight_carries_shared_blocks_and_dense_messages():
    load(
        ("grid.cluster.collective", ["ring-all-reduce"]),
        *(
            (f"methods.{name}.compressor", {"name": "rbgs", "density": 0.1})
            for name in ("DGC", "DGC w/o masking", "GMC")
        ),
    )


def test_bits_and_bytes_are_told_apart():
    assert float(parse("8 Mbit/s", BANDWIDTH, "")) == float(parse("1 MB/s", BANDWIDTH, "")) == 1e6
    assert float(parse("1 MiB/s", BANDWIDTH, "")) == 2**20
    assert float(parse("1.5 min", DURATION, "")) == 90.0


def test_the_grid_is_the_product_of_its_lists_in_order():
    file = load(("grid.cluster.bandwidth", ["1 Mbit/s", "1 Gbit/s"]), ("grid.optimizer.momentum", [0.5, 0.9]))
    assert len(file.points) == 8
    assert [point.scenario.optimizer.momentum for point in file.points] == [0.5, 0.9] * 4
    assert {point.scenario.cluster.collective for point in file.points} == {"parameter-server", "ring"}


# Mangled scenarios.

ABSURD = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 3),
    st.sampled_from([10**30, -(10**30), 2**64]),
    st.floats(allow_nan=True, allow_infinity=True),
    st.text(max_size=8),
    st.sampled_from(["1 Mbit/s", "5 ms", "measured", "ring", "{x}", "{", "top-k", "1e400 ms", "1 epoch"]),
    st.lists(st.integers(-2, 2), max_size=2),
    st.dictionaries(st.sampled_from(["name", "x", "density", "kind"]), st.integers(-2, 2), max_size=2),
)


def places(value, path=()):
    """Every key path of a nested scenario."""
    if isinstance(value, dict):
        for key, child in value.items():
            yield (*path, key)
            yield from places(child, (*path, key))
    elif isinstance(value, list):
        for index, child in enumerate(value):
            yield (*path, index)
            yield from places(child, (*path, index))


@st.composite
def mangled(draw):
    content = copy.deepcopy({"name": "test", **QUICKSTART})
    for _ in range(draw(st.integers(1, 4))):
        paths = list(places(content))
        if not paths:
            break
        *parents, last = draw(st.sampled_from(paths))
        table = content
        for part in parents:
            table = table[part]
        match draw(st.sampled_from(["drop", "retype", "rename", "add"])):
            case "drop":
                del table[last]
            case "retype":
                table[last] = draw(ABSURD)
            case "rename" if isinstance(table, dict):
                table[draw(st.text(max_size=6)) or "x"] = table.pop(last)
            case "add" if isinstance(table, dict):
                table[draw(st.text(min_size=1, max_size=6))] = draw(ABSURD)
    return content


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mangled())
@example({"name": "test", **QUICKSTART, "grid": {"\r": {"collective": ["ring"]}}})  # a key that would break the line
def test_a_mangled_scenario_gives_a_clean_error_or_is_valid(content):
    try:
        file = ScenarioFile(content, "test.toml")
    except SimgmcError as error:
        text = str(error)
        assert text and all(line.startswith("test.toml: ") for line in text.splitlines())
        assert "Traceback" not in text and "pydantic" not in text
    else:
        assert ScenarioFile(tomllib.loads(file.resolved()), "again.toml").resolved() == file.resolved()


@pytest.mark.parametrize("report", [{}, {"report": {}}, {"report": {"target": 0.5}}])
def test_the_first_method_is_the_baseline_unless_another_is_stated_and_that_is_written_out(report):
    content = {key: value for key, value in {"name": "test", **QUICKSTART}.items() if key != "report"} | report
    file = ScenarioFile(content, "x.toml")
    names = [method.name for method in file.points[0].scenario.methods]
    assert file.points[0].scenario.report.baseline == names[0]
    assert tomllib.loads(file.resolved())["report"]["baseline"] == names[0]
    last = file.only(names[-1:])
    assert last.points[0].scenario.report.baseline == names[-1]
    again = ScenarioFile(tomllib.loads(file.resolved()), "x.toml")
    assert again.resolved() == file.resolved()


def test_a_servers_position_is_refused_where_nothing_serves_and_left_out_where_an_override_took_the_server():
    cluster = {**QUICKSTART["cluster"], "server_position": 2}
    content = {"name": "test", **QUICKSTART, "cluster": cluster, "grid": {"cluster.collective": ["ring"]}}
    with pytest.raises(SimgmcError, match="cluster.server_position = 2: nothing serves.*leave it out"):
        ScenarioFile(content, "x.toml")
    for collectives in (["parameter-server"], ["ring", "parameter-server"]):
        file = ScenarioFile({**content, "grid": {"cluster.collective": collectives}}, "x.toml")
        assert file.points[0].scenario.cluster.server_position == 2
        assert ScenarioFile(tomllib.loads(file.resolved()), "x.toml").resolved() == file.resolved()
        ringed = file.with_settings([("grid.cluster.collective", ["ring"])])
        assert "server_position" not in ringed.resolved()
        assert ScenarioFile(tomllib.loads(ringed.resolved()), "x.toml").resolved() == ringed.resolved()


def test_an_own_collective_that_is_not_whole_is_told_of_at_its_own_key(tmp_path):
    (tmp_path / "half_a_collective.py").write_text(
        'from simgmc import Collective\n\n\nclass Silent(Collective):\n    """Sends nothing."""\n'
    )
    settings = [("cluster.collective", "half_a_collective:Silent")]
    with pytest.raises(SimgmcError, match=r'cluster\.collective = "half_a_collective:Silent": .* has no send\(\)'):
        ScenarioFile(small_runs.SMALL, "small.toml", settings, tmp_path)


@pytest.mark.parametrize("order", [1, -1])
def test_a_written_scenario_leaves_out_defaults_that_a_skipped_point_would_refuse(order):
    """Sharded servers have a number by default, which halving-doubling, skipped for sparse messages, does not take."""
    file = small_runs.scenario(("grid.cluster.collective", ["halving-doubling", "sharded-parameter-server"][::order]))
    again = ScenarioFile(tomllib.loads(file.resolved()), "again.toml")
    assert len(file.points) == len(file.skipped) == 1 and again.resolved() == file.resolved()
    assert [point.scenario for point in again.points] == [point.scenario for point in file.points]
    assert again.skipped == file.skipped


def test_a_point_whose_values_do_not_go_together_is_skipped_by_name_and_one_that_is_wrong_is_refused():
    names = ["parameter-server", "ring-all-reduce", "two-level"]
    file = load(("grid.cluster.collective", names), ("grid.cluster.bandwidth", ["1 Mbit/s", "2 Mbit/s"]))
    assert [point.values["cluster.collective"] for point in file.points] == names[:1] * 2
    first, second = skipped_lines(file)
    assert first.startswith("2 grid points with cluster.collective = ring-all-reduce: cannot carry method 'DGC' with")
    assert second.startswith("2 grid points with cluster.collective = two-level: needs groups of workers")
    again = ScenarioFile(tomllib.loads(file.resolved()), "resolved.toml")
    assert (again.resolved(), skipped_lines(again)) == (file.resolved(), skipped_lines(file))
    with pytest.raises(SimgmcError, match="cannot carry method 'DGC'"):  # nothing remains
        load(("grid.cluster.collective", names[1:]))
    with pytest.raises(SimgmcError, match='did you mean "ring"'):  # wrong by itself, wherever it stands
        load(("grid.cluster.collective", [*names, "rinf"]))


def test_parameters_are_cut_among_a_server_for_each_worker_unless_it_is_said_how_many():
    settings_ = [("grid.cluster.collective", ["ring", "sharded-parameter-server"])]
    file = load(*settings_)
    assert [len(point.scenario.cluster.server_names()) for point in file.points] == [0, 8]
    again = ScenarioFile(tomllib.loads(file.resolved()), "resolved.toml")
    assert [len(point.scenario.cluster.server_names()) for point in again.points] == [0, 8]
    alone = [("grid.cluster.collective", None), ("cluster.collective", "sharded-parameter-server")]
    assert "on 8 servers" in describe(load(*alone).points[0].scenario)
    stated = load(*alone, ("cluster.collective_options.servers", 1)).points[0].scenario
    assert len(stated.cluster.server_names()) == 1, "as written scenarios have it"
