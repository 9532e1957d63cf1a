"""The page of a run: it says what the tables say, asks nothing of a network, and fits every screen."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from simgmc.commands.report import report
from simgmc.core.errors import SimgmcError
from simgmc.experiment.answers import utilisation
from simgmc.experiment.answers.report_page import Known, report_page, write_page
from simgmc.experiment.answers.utilisation import utilisations
from simgmc.experiment.plan import trainings
from simgmc.experiment.reading import Run, readable, readable_all
from simgmc.results.directory.run_directory import open_run
from simgmc.results.report import Report
from simgmc.results.series.sentences import sentences
from simgmc.results.series.verdict import Verdict
from simgmc.results.tables.utilisation_table import utilisation_table
from simgmc.results.tables.written import text_table
from simgmc.scenario import ScenarioFile
from tests import small_runs

VOID = {"meta", "link", "br", "img", "input", "hr"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Two methods over a server and a ring."""
    file = small_runs.scenario(
        ("workload.rounds", 12),
        ("workload.evaluate_every", "2 rounds"),
        ("grid.cluster.collective", ["ring", "parameter-server"]),
    ).only(["DMSGD", "GMC"])  # fmt: skip
    return small_runs.run(file, tmp_path_factory.mktemp("report") / "run <&> 1")[0]


@pytest.fixture(scope="module")
def written(finished):
    return report_page(Run(finished))


class Page(HTMLParser):
    """What a page holds, and whether every element that it opens is closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.cells, self.texts, self.pictures, self.faults = [], [], [], [], []
        self.addresses = []
        self.feed(text)
        self.faults += self.open

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[name] for name in ("src", "href", "xlink:href", "action") if name in attributes]
        if tag == "svg":
            self.pictures.append(attributes)
        if tag not in VOID:
            self.open.append(tag)
        if tag in ("td", "th"):
            self.cells.append("")

    def handle_startendtag(self, tag, attributes):
        self.addresses += [value for name, value in attributes if name in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.faults.append(f"</{tag}>")

    def handle_data(self, data):
        self.texts.append(data)
        if self.open and self.open[-1] in ("td", "th"):
            self.cells[-1] += data


def test_the_page_says_what_tables_and_verdict_say(finished, written):
    run, page = Run(finished), Page(written)
    rows = run._summaries(run.target, run.baseline)
    said = sentences(Verdict(run.results, run.target, run.baseline))
    for kind in ("results", "rounds"):
        table = text_table(run.results, rows, run.target, run.baseline, kind)
        cells = [*table.header, *(text for row in table.rows for text in row)]
        starts = [place for place in range(len(page.cells)) if page.cells[place : place + len(cells)] == cells]
        assert starts, kind
    assert said and all(sentence in page.texts for sentence in said)
    assert open_run(finished).scenario_text() in page.texts


def test_the_page_tells_the_bandwidth_that_computing_needs_as_the_command_does(finished, written):
    """Of a run of one seed and few rounds the page's sample is all of it."""
    plan = trainings(ScenarioFile.read(finished / "scenario.toml").points)
    found, left_out = utilisations(open_run(finished), plan, {}, "run")
    table, page = utilisation_table(found), Page(written)
    cells = [*table.header, *(text for row in table.rows for text in row)]
    assert any(page.cells[place : place + len(cells)] == cells for place in range(len(page.cells)))
    assert len(found) == 4 and not left_out
    assert any(one["aria-label"].startswith("Compute utilisation of each method") for one in page.pictures)


def test_of_long_runs_and_large_grids_the_page_takes_a_sample(finished):
    rounds = [[number] for number in range(1000)]
    sample = [one[0] for one in utilisation._sample(rounds)]
    assert len(sample) == utilisation.SAMPLED and sample == sorted(set(sample)) and (sample[0], sample[-1]) == (0, 999)
    assert list(utilisation._sample(rounds[:5])) == rounds[:5]
    settings = [("cluster.latency", [f"{n} ms" for n in range(5)]), ("cluster.bandwidth", ["1 Mbit/s", "2 Mbit/s"])]
    grid = ScenarioFile.read(finished / "scenario.toml", [(f"grid.{key}", values) for key, values in settings])
    training = trainings(grid.points)[0]
    networks = utilisation._networks(training, {}, "run")
    first = [point for point in networks if utilisation._is_of_first(training, point)]
    assert len(networks) == 10
    assert [point.values["cluster.latency"] for point in first] == ["0 ms", "0 ms"]
    assert {point.values["cluster.collective"] for point in first} == {"ring", "parameter-server"}


def test_the_page_is_whole_and_asks_nothing_of_a_network(written):
    page = Page(written)
    assert page.faults == []
    assert all(address.startswith(("#", "data:")) for address in page.addresses)
    assert not re.search(r"url\((?!#|&quot;#)", written) and "@import" not in written and "<script" not in written


def test_every_picture_says_in_words_what_it_shows(written):
    pictures = Page(written).pictures
    assert len(pictures) >= 7  # curves, bars, rounds, a timeline and a network
    assert all(len(one["aria-label"]) > 20 and one["role"] == "img" for one in pictures)
    assert any("GMC" in one["aria-label"] for one in pictures)


def test_a_run_writes_its_page_the_same_each_time_and_overwriting_removes_it(finished, written, tmp_path):
    out = shutil.copytree(finished, tmp_path / finished.name)
    run = Run(out)
    file = ScenarioFile.read(out / "scenario.toml")
    known = Known(file, trainings(file.points), Report(run.results, dict), None)
    assert write_page(open_run(out), known) == out / "report.html"
    assert (out / "report.html").read_text() == written and len(written) < 3e6
    small_runs.run(small_runs.scenario(("workload.rounds", 2)).only(["DMSGD"]), out, overwrite=True)
    assert not (out / "report.html").exists()


def test_several_runs_stand_side_by_side(finished, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "simgmc.experiment.answers.report_page.svg", lambda figures, alt: Markup("<p>{}</p>").format(alt)
    )
    other = shutil.copytree(finished, tmp_path / "other")
    file = report([finished, other], tmp_path / "both.html")
    page = Page(file.read_text())
    assert page.faults == [] and {"run <&> 1", "other"} <= set(page.cells)
    table = text_table(readable([finished, other]).results, [], None, None)
    assert table.header[0] in page.cells
    assert readable_all([finished, other], 0.123).target == readable_all([finished], 0.123).target == 0.123


def test_what_is_no_run_or_has_nothing_yet_is_refused(finished, tmp_path):
    with pytest.raises(SimgmcError, match="nowhere"):
        report([tmp_path / "nowhere"])
    empty = shutil.copytree(finished, tmp_path / "empty")
    for name in ("metrics.csv", "breakdown.csv"):
        lines = (empty / name).read_text().splitlines(keepends=True)
        (empty / name).write_text(lines[0])
    with pytest.raises(SimgmcError, match="no evaluation"):
        report([empty])


PROBE = """
<script>
addEventListener("load", () => {
  const wide = [...document.querySelectorAll("body *")]
    .filter(one => !one.closest(".figure, .table, pre"))
    .filter(one => one.getBoundingClientRect().right > innerWidth + 1)
    .map(one => one.tagName + " " + one.textContent.slice(0, 40));
  parent.postMessage({width: innerWidth, page: document.scrollingElement.scrollWidth, wide}, "*");
});
</script>
"""
FRAMES = """<!doctype html><body><pre id="found"></pre>{frames}<script>
const found = [];
addEventListener("message", told => {{ found.push(told.data); document.title = found.length;
  document.getElementById("found").textContent = JSON.stringify(found); }});
</script>"""


def test_the_page_fits_a_phone_a_tablet_and_a_desk(written, tmp_path):
    """In a real browser: nothing is wider than 360, 800 or 1,400 pixels, nothing fails, nothing is asked for."""
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no Chromium here")
    probed = written.replace("</body>", f"{PROBE}</body>")
    (tmp_path / "page.html").write_text(probed)
    widths = (360, 800, 1400)
    frames = "".join(
        f'<iframe src="page.html" width="{width}" height="600" style="border:0"></iframe>' for width in widths
    )
    (tmp_path / "frames.html").write_text(FRAMES.format(frames=frames))
    options = ["--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", f"--user-data-dir={tmp_path / 'profile'}"]
    command = [
        browser,
        "--headless",
        *options,
        "--enable-logging=stderr",
        "--dump-dom",
        (tmp_path / "frames.html").as_uri(),
    ]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=120)
    told = re.search(r'<pre id="found">(.*?)</pre>', shown.stdout)
    assert told, shown.stderr
    found = {one["width"]: one for one in json.loads(html.unescape(told[1]))}
    assert sorted(found) == list(widths)
    assert all(one["page"] <= width and one["wide"] == [] for width, one in found.items()), found
    assert "CONSOLE" not in shown.stderr


def test_of_many_workers_neither_network_nor_rounds_are_simulated_flow_by_flow(tmp_path, monkeypatch):
    """It would take longer than the run: 1,023 workers round a ring have two million flows a round."""
    settings = [("workload.workers", 100), ("workload.partition", "iid"), ("workload.rounds", 1)]
    settings += [("cluster.collective", "ring"), ("workload.evaluate_every", "1 rounds")]
    out, _ = small_runs.run(small_runs.scenario(*settings).only(["DMSGD"]), tmp_path / "many")
    monkeypatch.setattr("simgmc.experiment.synchronous.SynchronousTraining.watch", None)
    blank = lambda figures, alt: Markup("<p>{}</p>").format(alt)  # noqa: E731
    monkeypatch.setattr("simgmc.experiment.answers.report_page.svg", blank)
    page = report_page(Run(out))
    assert "The network is not drawn: it has 101 nodes." in page and "The first rounds" not in page
