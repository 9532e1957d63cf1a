"""Paths in a scenario file are counted from its folder, whichever part of it they belong to."""

from __future__ import annotations

import copy
import tomllib

import pytest
import tomli_w

from simgmc.core.errors import SimgmcError
from simgmc.scenario import ScenarioFile
from tests.places import QUICKSTART

NETWORK = "source,destination,bandwidth_bytes_s,latency_s\n" + "".join(
    f"{host},switch,1e6,0\nswitch,{host},1e6,0\n" for host in ["server", *(f"worker{k}" for k in range(8))]
)
RING = "source,destination\n" + "".join(
    f"worker{k},worker{(k + 1) % 8}\nworker{(k + 1) % 8},worker{k}\n" for k in range(8)
)
MATRIX = "\n".join([",".join(["0.125"] * 8)] * 8)


def scenario(tmp_path, cluster=(), **tables):
    content = copy.deepcopy(QUICKSTART) | tables
    content["cluster"] |= dict(cluster)
    folder = tmp_path / "here"
    folder.mkdir()
    (folder / "net.csv").write_text(NETWORK)
    (folder / "ring.csv").write_text(RING)
    (folder / "w.csv").write_text(MATRIX)
    (folder / "trace.csv").write_text("time_s,factor\n0,1\n5,0.5\n")
    (folder / "a.toml").write_text(tomli_w.dumps(content))
    return ScenarioFile.read(folder / "a.toml"), str(folder)


def gossip(**table):
    return {
        "gossip": table,
        "methods": [
            {"name": "DMSGD", "algorithm": "d-psgd"},
            {"algorithm": "d-psgd", "name": "other", "gossip": table},
        ],
    }


CASES = {
    "topology": {"cluster": {"topology": {"name": "file", "file": "net.csv"}}},
    "trace": {"cluster": {"changes": {"traces": {"file": "trace.csv", "source": "worker1"}}}},
    "graph": gossip(graph={"name": "file", "file": "ring.csv"}),
    "weights": gossip(weights={"name": "stated", "file": "w.csv"}),
    "grid": {"grid": {"cluster.topology": [{"name": "file", "file": "net.csv"}, "star"]}},
    "grid of paths": {
        "cluster": {"topology": {"name": "file", "file": "no.csv"}},
        "grid": {"cluster.topology.file": ["net.csv"]},
    },
}


@pytest.mark.parametrize("case", CASES)
def test_a_path_is_found_from_the_scenarios_folder_and_absolute_when_resolved(case, tmp_path, monkeypatch):
    file, folder = scenario(tmp_path, **CASES[case])
    monkeypatch.chdir("/")
    resolved = file.resolved()
    assert f"{folder}/" in resolved and '"net.csv"' not in resolved
    again = ScenarioFile(tomllib.loads(resolved), "resolved.toml")
    assert [point.scenario for point in again.points] == [point.scenario for point in file.points]


MEASURED = '[transport]\nefficiency = 0.9\nsoftware = "300 us"\n'


@pytest.mark.parametrize("place", ["cluster", "grid"])
def test_a_transport_is_taken_in_from_a_file(place, tmp_path):
    stated = {"cluster": {"transport": "m.toml"}} if place == "cluster" else {"grid": {"cluster.transport": ["m.toml"]}}
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "m.toml").write_text(MEASURED)
    content = copy.deepcopy(QUICKSTART)
    content["cluster"] |= stated.get("cluster", {})
    content |= {"name": "s", "grid": stated.get("grid", {})}
    file = ScenarioFile(content, "s.toml", folder=tmp_path / "here")
    transport = file.points[0].scenario.cluster.transport
    assert (transport.efficiency, float(transport.software)) == (0.9, 300e-6)
    assert file.outside_files() == [tmp_path / "here" / "m.toml"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("efficiency = 0.9\n", r"m\.toml: must hold a table \[transport\] and nothing else; holds \"efficiency\""),
        ("[transport]\nefficiency = 2\n", r"m\.toml: transport\.efficiency = 2: must be a number of at least"),
        ("[transport]\neficiency = 1\n", r"m\.toml: transport\.eficiency = 1: unknown key; .*efficiency"),
        ("[transport\n", r"m\.toml: not valid TOML"),
        (None, r"cannot read the file with a table \[transport\]"),
    ],
)
def test_a_file_that_holds_no_transport_is_refused_with_its_name(text, says, tmp_path):
    if text is not None:
        (tmp_path / "m.toml").write_text(text)
    content = copy.deepcopy(QUICKSTART)
    content["cluster"]["transport"] = "m.toml"
    with pytest.raises(SimgmcError, match=says):
        ScenarioFile(content, "s.toml", folder=tmp_path)
