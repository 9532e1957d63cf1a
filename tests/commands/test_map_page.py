"""The page of ``simgmc map``: what it holds is what replays gave, and a browser shows and says just that."""

from __future__ import annotations

import base64
import html
import itertools
import json
import re
import shutil
import subprocess
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

import simgmc
from simgmc.commands.map import map_networks
from simgmc.commands.replay import replay
from simgmc.core.transport import Transport
from simgmc.experiment.answers import replayed
from simgmc.results.directory.records import SeriesKey
from simgmc.results.directory.run_directory import open_run
from simgmc.results.page.map import MapOf, map_page
from simgmc.results.series.measures import ACCURACY
from simgmc.results.series.read import compared_at, read_results
from simgmc.results.series.sentences import sentences
from simgmc.results.series.verdict import Verdict
from tests import small_runs
from tests.results.synthetic_runs import accuracy_curve, write_run
from tests.results.test_claims import Outcome, results_of

BANDWIDTHS, LATENCIES = ["1 Mbit/s", "8 Mbit/s", "64 Mbit/s"], ["1 ms", "20 ms", "400 ms"]
GRID = [
    ("grid.cluster.bandwidth", BANDWIDTHS),
    ("grid.cluster.latency", LATENCIES),
    ("grid.cluster.collective", ["parameter-server", "ring"]),
]


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Two methods, two seeds, one network."""
    file = small_runs.scenario(
        ("seeds", [3, 4]), ("workload.rounds", 20), ("workload.evaluate_every", "1 rounds"), ("cluster.hosts", {})
    ).only(["DMSGD", "GMC"])
    return small_runs.run(file, tmp_path_factory.mktemp("map") / "run", plots=False)[0]


@pytest.fixture(scope="module")
def mapped(run, tmp_path_factory):
    out = tmp_path_factory.mktemp("map") / "mapped"
    replay(run, settings=GRID, out=out, console=Console(file=StringIO()), plots=False)
    return out


def held(path):
    """The numbers that a page holds."""
    text = re.search(r'<script type="application/json" id="data">(.*?)</script>', path.read_text(), re.DOTALL)[1]
    return json.loads(text)


def numbers(choice, name, kind="<f8"):
    return np.frombuffer(base64.b64decode(choice[name]), kind)


def test_the_page_is_one_file_that_asks_nothing_of_a_network(mapped):
    text = map_networks(mapped).read_text()
    assert not re.search(r"https?://(?!www\.w3\.org/2000/svg)", text)
    assert set(re.findall(r'(?:src|href)="([^"]*)"', text)) <= {"data:,"} and "@import" not in text
    assert simgmc.map(mapped, out=mapped / "again.html").read_text() == text


def test_at_the_grids_points_the_page_holds_what_replays_gave(mapped):
    data, results = held(map_networks(mapped)), read_results(open_run(mapped), ["DMSGD", "GMC"])
    assert [one["key"] for one in data["sliders"]] == ["cluster.bandwidth", "cluster.latency"]
    assert data["selects"] == [] and len(data["choices"]) == 4
    for choice in data["choices"]:
        needed, met = (
            numbers(choice, name, kind).reshape(3, 3, 2) for name, kind in (("needed", "<f8"), ("met", "u1"))
        )
        for (i, bandwidth), (j, latency) in itertools.product(enumerate(BANDWIDTHS), enumerate(LATENCIES)):
            (point,) = (
                one for one in results.points
                if (str(one.transport), *dict(one.grid).values()) == (choice["over"], bandwidth, latency)
            )  # fmt: skip
            reach = results.reach(choice["method"], point, 0.3)
            assert {3: needed[i, j, 0], 4: needed[i, j, 1]} == {**reach.needed, **reach.spent}
            assert met[i, j].tolist() == [seed in reach.needed for seed in (3, 4)]


def test_a_run_without_a_grid_is_replayed_around_its_own_network(run, tmp_path, monkeypatch):
    dense = {"bandwidth": (0.1, 1.0, 10.0), "latency": (1.0, 10.0), "compute.gradient": (0.5, 1.0)}
    monkeypatch.setattr(replayed, "DENSE", dense)  # a few networks are enough to see that
    data = held(map_networks(run))
    sizes = [len(one["texts"]) for one in data["sliders"]]
    assert [one["label"] for one in data["sliders"]] == ["bandwidth", "latency", "compute time"]
    assert [one["texts"][one["begin"]] for one in data["sliders"]] == ["5 Mbit/s", "3 ms", "10 ms"]
    there = [sizes[0] - 1, 0, sizes[2] - 1]
    values = [one["texts"][place] for one, place in zip(data["sliders"], there)]
    keys = ("cluster.bandwidth", "cluster.latency", "cluster.compute.gradient")
    replay(run, settings=list(zip(keys, values)), out=tmp_path / "one", console=Console(file=StringIO()), plots=False)
    results = read_results(open_run(tmp_path / "one"), ["DMSGD", "GMC"])
    for choice in data["choices"]:
        reach = results.reach(choice["method"], results.points[0], 0.3)
        found = numbers(choice, "needed").reshape(*sizes, 2)[tuple(there)]
        assert found.tolist() == [{**reach.needed, **reach.spent}[seed] for seed in (3, 4)]


def test_names_cannot_break_out_of_the_page(tmp_path):
    name = "</script><b id='out'>&"
    points = [{"cluster.collective": "ring", "cluster.bandwidth": f"{value} Mbit/s"} for value in (1, 2, 3)]
    results = read_results(write_run(tmp_path, {name: accuracy_curve(0.9, 0.5)}, points=points))
    text = map_page(MapOf(name, results, 0.8, None, [name], {}))
    assert "<b id" not in text and html.escape(name).replace("&#x27;", "&#39;") in text
    (tmp_path / "page.html").write_text(text)
    assert held(tmp_path / "page.html")["methods"] == [name]


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVEN = """<pre id="told"></pre><script>
window.requestAnimationFrame = (then) => setTimeout(then, 0);  // nothing is painted here
const inputs = [...document.querySelectorAll("input[type=range]")], told = [];
const frame = () => new Promise(requestAnimationFrame);
const say = () => told.push({
  at: inputs.map((one) => one.getAttribute("aria-valuetext")), kind: document.getElementById("kind").textContent,
  verdict: [...document.querySelectorAll("#verdict p")].map((one) => one.textContent),
  lines: document.querySelectorAll("#sweep path[stroke], #curves path[stroke]").length,
  rows: [...document.querySelectorAll("#table tr")].map((row) => [...row.cells].map((cell) => cell.textContent)),
});
async function move(...places) {
  inputs.forEach((one, number) => {
    one.value = places[number];
    one.dispatchEvent(new Event("input", {bubbles: true}));
  });
  await frame(); await frame(); say();
}
(async () => {
  for (let one = 0; one < 3; one++) for (let other = 0; other < 3; other++) await move(one, other);
  await move(0.5, 1); await move(1.25, 1.6);
  document.getElementById("replayed").click(); await frame(); say();
  location.hash = "cluster.bandwidth=2&cluster.latency=0"; await frame(); await frame(); say();
  document.getElementById("told").textContent = JSON.stringify({ told, wide: document.documentElement.scrollWidth });
})();
</script></body>"""


def opened(text, tmp_path):
    """What a script in a page, with a place to tell it, tells when a browser opens it."""
    page = tmp_path / "driven.html"
    page.write_text(text)
    command = [BROWSER, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}/browser",
               "--virtual-time-budget=20000", "--window-size=500,900", "--dump-dom", page.as_uri()]  # fmt: skip
    shown = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    return json.loads(html.unescape(re.search(r'<pre id="told">(.*?)</pre>', shown, re.DOTALL)[1]))


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page in")
def test_moved_sliders_say_what_python_says_at_every_replayed_network_and_mark_what_lies_between(mapped, tmp_path):
    found = opened(map_networks(mapped).read_text().replace("</body>", DRIVEN), tmp_path)
    told, results = found["told"], read_results(open_run(mapped), ["DMSGD", "GMC"])
    for one, (bandwidth, latency) in zip(told, itertools.product(BANDWIDTHS, LATENCIES)):
        network = (("cluster.bandwidth", bandwidth), ("cluster.latency", latency))
        series = tuple(series for series in results.series if series.key.grid == network)
        here = replace(results, series=series, points=compared_at(series))
        assert one["at"] == [bandwidth, latency] and one["kind"] == "replayed"
        assert one["verdict"] == sentences(Verdict(here, 0.3, "DMSGD"))
        assert one["lines"] == 8 and len(one["rows"]) == 5
    between, corner, snapped, recalled = told[9:]
    assert between["kind"] == corner["kind"] == "interpolated between replays"
    assert between["at"] == ["2.83 Mbit/s, interpolated", "20 ms"]  # half way between the logarithms
    assert snapped["kind"] == "replayed" and snapped["at"] == ["8 Mbit/s", "400 ms"]
    assert recalled["at"] == ["64 Mbit/s", "1 ms"] and recalled["verdict"] == told[6]["verdict"]
    assert found["wide"] <= 500


BY_ADDRESS = """<pre id="told"></pre><script>
(async () => {
  const told = [];
  for (const place of PLACES) {
    location.hash = `cluster.bandwidth=${place}`;
    await new Promise((then) => setTimeout(then, 50));
    told.push([...document.querySelectorAll("#verdict p")].map((one) => one.textContent));
  }
  document.getElementById("told").textContent = JSON.stringify({ told, wide: document.documentElement.scrollWidth });
})();
</script></body>"""
BANDWIDTH = ["1 Mbit/s", "2 Mbit/s", "1 MB/s"]
CURVES = [
    Outcome(0.1, (0.1,) * 9 + (0.9,)), Outcome(3.0, (0.1, 0.3, 0.4)), Outcome(0.2, (0.1, 0.3), diverged=1),
    Outcome(0.3, (0.1, 0.4, 0.45)), Outcome(0.05, (0.1,) * 9 + (0.8,)),
]  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no chromium to open the page in")
@pytest.mark.parametrize("target", [0.5, 0.05, 0.99, None])
@pytest.mark.parametrize("outcomes", [CURVES, CURVES[:3], CURVES[1:4], CURVES[2:3]])
def test_a_browser_and_python_say_the_same_whatever_became_of_the_series(outcomes, target, tmp_path):
    """Targets that are met at the start, by some, by none, or not stated; settings, seeds that diverged, ties."""
    keys = itertools.product(BANDWIDTH, ("0.1", "0.2"), ("tree", "ring"), ("GMC", "SGD"), (0, 1))
    series = [
        outcomes[place % len(outcomes)].series(
            SeriesKey(method, Transport("collective", over), seed,
                      {"cluster.bandwidth": bandwidth, "optimizer.learning_rate": rate}), ACCURACY)
        for place, (bandwidth, rate, over, method, seed) in enumerate(keys)
    ]  # fmt: skip
    results = results_of(series, ["GMC", "SGD"])
    page = map_page(MapOf("made up", results, target, "SGD", [], {})).replace("</body>", BY_ADDRESS)
    found = opened(page.replace("PLACES", "[0, 1, 2]"), tmp_path)
    for told, bandwidth in zip(found["told"], BANDWIDTH, strict=True):
        here = results.only({"cluster.bandwidth": bandwidth}, (), "here")
        assert told == [text for text in sentences(Verdict(here, target, "SGD")) if not text.startswith(OF_SETTINGS)]
    assert found["wide"] <= 500


OF_SETTINGS = ("Compared at", "The grid may", "Do not compare")
