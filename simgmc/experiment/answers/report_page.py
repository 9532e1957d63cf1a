"""``report.html``: all that a run found on one page that needs nothing else, of one run or of several side by side."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from markupsafe import Markup

from simgmc.core.errors import SimgmcError
from simgmc.core.files import reading_copies
from simgmc.experiment.answers.explanation import Explained, explain
from simgmc.experiment.answers.utilisation import SAMPLED, sampled
from simgmc.experiment.header import cluster_lines, describe, gossip_lines
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.experiment.reading import Comparison, Run
from simgmc.experiment.training import Training
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.records import Breakdown
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.directory.scenario_changes import heading
from simgmc.results.figures import panels, timeline_plots, topology_plot
from simgmc.results.figures.material import Material
from simgmc.results.figures.plots import figures_of
from simgmc.results.figures.utilisation_plot import utilisation_figures
from simgmc.results.page.page import page, png, svg
from simgmc.results.report import Report
from simgmc.results.series.grids import MAX_POINTS, is_large
from simgmc.results.series.read import Results, transport_text
from simgmc.results.series.sentences import sentences
from simgmc.results.series.summary import summarize
from simgmc.results.series.utilisation import Utilisation
from simgmc.results.series.verdict import Verdict
from simgmc.results.tables.explanations import explanation_notes, explanation_table
from simgmc.results.tables.large_tables import range_table
from simgmc.results.tables.tables import RATIO, table_notes
from simgmc.results.tables.utilisation_table import DEFINITION, PRECISE, utilisation_table
from simgmc.results.tables.written import TextTable, text_table
from simgmc.scenario import GridPoint, ScenarioFile

FILE = "report.html"
ROUNDS = 3
"""That a timeline shows, the first ones."""
MAX_TIMELINES = 2
"""Methods whose rounds are shown: who is first, and the baseline."""
MAX_NODES = 72
"""Hosts and switches of a network that is drawn, and whose rounds are: of more nobody could tell them apart, and to
record every flow of a round would take longer than the run."""


@dataclass
class Part:
    """A section of the page."""

    title: str
    lines: list[str] = field(default_factory=list)
    """Paragraphs under the title."""
    tables: list[TextTable] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    """Small print under the tables."""
    pictures: list[Markup] = field(default_factory=list)
    facts: list[tuple[str, str]] = field(default_factory=list)
    """Names and what is said of them."""
    texts: list[str] = field(default_factory=list)
    """As they are, in letters of one width."""

    @property
    def anchor(self) -> str:
        """Its name within the page."""
        return "-".join(self.title.lower().split())

    def __bool__(self) -> bool:
        return any((self.lines, self.tables, self.pictures, self.facts, self.texts))


@dataclass(frozen=True)
class Known:
    """What whoever has just made a run knows of it, so that it need not be read again."""

    file: ScenarioFile
    plan: Sequence[Training]
    report: Report
    explained: Explained | None
    """What bound its methods; None: that was not looked into."""


def report_page(of: Run | Comparison, known: Known | None = None) -> str:
    """The page of a run, or of several side by side, as HTML; ``known``: what is known of a run already.

    It holds the question, the verdict, tables, figures, the network, a window of rounds, who holds what, what was
    measured and what supposed, and how to make it again. What a run does not keep is left out, and why is said.
    """
    results, target, baseline = of.results if known is None else known.report.results, of.target, of.baseline
    if not results.series:
        raise SimgmcError(f"{of.name}: no evaluation is there yet; give the same simgmc run command again")
    rows = summarize(results, target, baseline)
    large = is_large(results)
    details = {} if large else of.details()
    verdict = Verdict(results, target, baseline)
    material = Material(results, target, baseline, {}, details, of.partitions())
    runs = of.runs if isinstance(of, Comparison) else {of.path.resolve().name: of}
    several = len(runs) > 1
    with panels.style():
        each = [_OneRun(name if several else "", run, known) for name, run in runs.items()]
        networks = [drawn for one in each for drawn in one.networks()]
        shown = [] if large else _shown(verdict, baseline)
        timelines = [drawn for one in each for drawn in one.timelines(shown)]
        bandwidths = _bandwidths(each)
        if large and known is not None:
            known.report.pictures()  # they are drawn by then, and the page takes them as they are
        pictures = _as_drawn(of) if large else {}
        pictures = pictures or {
            name: svg(figures, _ALT.get(name, name.replace("_", " ")))
            for name, figures in figures_of(material).items()
            if figures
        }
    answers = [name for end in ("_map", "collectives") for name in pictures if name.endswith(end)]
    answers += [name for name in pictures if name.startswith((results.measure.name, "time_to_target"))]
    ratio = [RATIO] if not large and any(row.rcc for row in rows) else []
    where = Part("Where time went", pictures=_taken(pictures, "time_per_round"))
    if not large:
        where.tables.append(text_table(results, rows, target, baseline, "rounds"))
        for one in each:
            _explain(where, one)
    parts = [
        Part(
            "Results",
            tables=[(range_table if large else text_table)(results, rows, target, baseline)],
            notes=[note[:1].upper() + note[1:] for note in (*ratio, *table_notes(rows, target, ""))],
        ),
        Part("Maps and curves" if large else "Curves", pictures=[pictures.pop(name) for name in answers]),
        where,
        bandwidths,
        Part("The first rounds", pictures=timelines, notes=[_MORE_ROUNDS] if timelines else []),
        Part("The network", lines=[line for one in each for line in one.missing], pictures=networks),
        Part("Who holds what", pictures=_taken(pictures, "partition")),
        Part("More pictures", pictures=list(pictures.values())),
        Part("What was measured, what was supposed", facts=[fact for one in each for fact in one.facts()]),
        _again(each),
    ]
    title = " beside ".join(runs)
    return page(
        "report.html.jinja",
        title=title,
        setting=[line for one in each for line in one.setting()],
        question=_question(results, target),
        answer=sentences(verdict),
        parts=[part for part in parts if part],
    )


def write_page(directory: RunDirectory, known: Known) -> Path:
    """Writes the page of a run that has just been made into its directory."""
    return directory.replace(directory.path / FILE, report_page(Run(directory.path), known).encode())


_ALT = {
    "time_to_target": "Time that each method needs to reach the target",
    "time_per_round": "What a round of each method is made of",
    "partition": "Samples of each label that every worker holds",
    "first_to_target_map": "Which method reaches the target first, over the grid",
    "speedup_map": "How many times sooner than the baseline, over the grid",
}
"""What figures show, of which their names do not say it."""


_MORE_ROUNDS = "simgmc timeline RUN draws any window of rounds of any method."


def _as_drawn(of: Run | Comparison) -> dict[str, Markup]:
    """The pictures of a map's directory, which takes longest to draw, by name."""
    files = sorted((of.path / "plots").glob("*.png")) if isinstance(of, Run) else []
    return {file.stem: png(file.read_bytes(), _ALT.get(file.stem, file.stem.replace("_", " "))) for file in files}


def _taken(pictures: dict[str, Markup], name: str) -> list[Markup]:
    return [pictures.pop(name)] if name in pictures else []


def _question(results: Results, target: float | None) -> str:
    methods = list(results.methods)
    which = f"Which of {', '.join(methods[:-1])} and {methods[-1]}" if len(methods) > 1 else f"When does {methods[0]}"
    if len(methods) > 8:
        which = f"Which of {len(methods)} methods"
    if len(methods) == 1:
        goal = "" if target is None else f"reach {results.measure.text} {results.measure.number_text(target)}"
        return f"{which} {goal}?" if goal else f"How far does {methods[0]} get?"
    if target is None:
        return f"{which} ends with the best {results.measure.text}?"
    return f"{which} reaches {results.measure.text} {results.measure.number_text(target)} first?"


def _explain(part: Part, one: _OneRun) -> None:
    """Adds to a part what bound each method of a run, and what would help."""
    explained = one.explained()
    if explained.found:
        part.tables.append(explanation_table(explained.found))
        part.notes += [note for note in explanation_notes(explained.found) if note not in part.notes]
    part.lines += [f"{one.called}{line}" for line in explained.missing]


def _bandwidths(each: Sequence[_OneRun]) -> Part:
    """How fast a network must be so that workers compute most of the time; to be drawn within :func:`panels.style`."""
    part = Part("The bandwidth that computing needs")
    for one in each:
        found, left_out = one.utilisations()
        if found:
            methods = [training.method.name for training in one.plan]
            alt = f"{one.called}Compute utilisation of each method against the bandwidth of a link"
            part.pictures.append(svg(utilisation_figures(found, list(dict.fromkeys(methods))), alt))
            part.tables.append(utilisation_table(found, one.called))
        if found and left_out:
            part.lines.append(f"{one.called}Left out: {', '.join(left_out)}.")
    if part.tables:
        sample = (
            f"From up to {SAMPLED} rounds of the first seed, spread over it; of a grid with many networks on the first "
            "of them. simgmc utilisation RUN takes all."
        )
        part.notes += [DEFINITION[:1].upper() + DEFINITION[1:], PRECISE[:1].upper() + PRECISE[1:], sample]
    return part


def _shown(verdict: Verdict, baseline: str | None) -> list[str]:
    """The methods whose rounds are shown: who is first on the first network, the baseline, and whoever comes next."""
    network = next(iter(verdict.best))
    firsts = [one.choice.method for one in verdict.best[network]]
    return list(dict.fromkeys([firsts[0], *([baseline] if baseline else []), *firsts]))[:MAX_TIMELINES]


def _again(each: Sequence[_OneRun]) -> Part:
    part = Part("To make it again")
    part.lines.append(
        "The resolved scenario below, every default written out, is scenario.toml in the run directory; this runs it "
        "anew, to the same numbers with the versions named:"
    )
    for one in each:
        name = one.run.path.resolve().name
        part.texts.append(f"simgmc run {shlex.quote(f'{name}/scenario.toml')} --out {shlex.quote(f'{name}-again')}")
    part.texts += [one.directory.scenario_text() for one in each]
    return part


class _OneRun:
    """What the page says of one run alone."""

    def __init__(self, name: str, run: Run, known: Known | None):
        self.name, self.run, self._known = name, run, known
        """The name tells it from other runs on the page; empty where there is one."""
        self.directory: RunDirectory = open_run(run.path)
        self.missing: list[str] = []
        """Why something is left out."""
        self.file: ScenarioFile | None = None
        self.plan: Sequence[Training] = []
        if known is not None:
            self.file, self.plan = known.file, known.plan
            return
        try:
            with reading_copies(copies(self.directory.path)):
                self.file = ScenarioFile.read(self.directory.path / "scenario.toml")
                require_stated_times(self.file.points, self.file.place)
                self.plan = trainings(self.file.points)
        except SimgmcError as error:
            self.missing.append(
                f"{self.called}Network and rounds are left out, as the scenario cannot be read: {error}"
            )

    @property
    def called(self) -> str:
        """What a line about it begins with."""
        return f"{self.name}: " if self.name else ""

    @cached_property
    def _firsts(self) -> dict[str, tuple[Training, GridPoint, Breakdown]]:
        """By method the finished series of the first seed at the first grid point that it has."""
        results = self.run.results if self._known is None else self._known.report.results
        finished = {one.key: one.breakdown for one in results.series}
        found: dict[str, tuple[Training, GridPoint, Breakdown]] = {}
        for training in self.plan:
            name, point = training.method.name, training.points[0]
            breakdown = finished.get(training.series(point))
            if name not in found and breakdown is not None and training.can_watch(self.directory):
                found[name] = training, point, breakdown
        return found

    def timelines(self, methods: Sequence[str]) -> Iterator[Markup]:
        """The first rounds of these methods, to be drawn within :func:`panels.style`."""
        for training, point, breakdown in [self._firsts[method] for method in methods if method in self._firsts]:
            if len(training.settings(point).graph) > MAX_NODES:
                return
            with reading_copies(copies(self.directory.path)):
                watched = training.watch(self.directory, point, breakdown, lambda rounds: (0, min(ROUNDS, rounds) - 1))
            name = f"{self.called}{training.method.name} over {transport_text(training.series(point).transport)}"
            yield svg([timeline_plots.gantt(watched.timeline, name)], f"Timeline of the first rounds of {name}")

    def networks(self) -> Iterator[Markup]:
        """The network under each transport, coloured by the load of the first method that uses it."""
        seen = set[str]()
        for training, point, breakdown in self._firsts.values():
            transport = str(training.series(point).transport)
            if transport in seen:
                continue
            seen.add(transport)
            with reading_copies(copies(self.directory.path)):
                settings = training.settings(point)
                if len(settings.graph) > MAX_NODES:
                    self.missing.append(f"{self.called}The network is not drawn: it has {len(settings.graph)} nodes.")
                    return
                watched = training.watch(self.directory, point, breakdown, lambda rounds: (0, 0))
            name = f"{self.called}{training.method.name} over {transport_text(training.series(point).transport)}"
            figure = topology_plot.draw(settings.graph, watched.loads, settings.server_hosts, name, watched.seconds)
            yield svg([figure], f"The network, and the load of each link under {name}")

    def utilisations(self) -> tuple[list[Utilisation], list[str]]:
        """The bandwidths that compute utilisations need, and methods of which they are not known; not of a run whose
        network is too large to be drawn."""
        firsts = [training.settings(point) for training, point, _ in self._firsts.values()]
        if self.file is None or any(len(settings.graph) > MAX_NODES for settings in firsts):
            return [], []
        with reading_copies(copies(self.directory.path)):
            return sampled(self.directory, [one for one in self.plan if one.method.name in self._firsts])

    def explained(self) -> Explained:
        """What bound each method, and what could not be explained."""
        if self._known is not None and self._known.explained is not None:
            return self._known.explained
        if self.file is None or len(self.file.points) > MAX_POINTS:
            return Explained()
        with reading_copies(copies(self.directory.path)):
            return explain(self.directory, self.plan)

    def setting(self) -> Iterator[str]:
        """What is trained, and over which network, a line each."""
        if self.file is not None:
            scenario = self.file.points[0].scenario
            yield f"{self.called}{scenario.workload.describe()}"
            yield f"{self.called}{describe(scenario)}"

    def facts(self) -> Iterator[tuple[str, str]]:
        """What came out of computing, what was stated, and with which versions."""
        began = [line.lstrip("# ") for line in heading(self.directory.scenario_text()).splitlines()]
        if self.name:
            yield "run", self.name
        yield (
            "measured",
            "; ".join(
                [
                    "gradients, losses and metrics, by training for real",
                    "sizes of messages, the lengths of their encodings",
                ]
            ),
        )
        for line in began:
            yield "computed with", line
        if self.file is not None:
            scenario = self.file.points[0].scenario
            yield "workload", scenario.workload.describe()
            for name, text in [
                *cluster_lines(self.file),
                *(("gossip", text) for text in gossip_lines(scenario, False)),
            ]:
                yield f"supposed: {name}", text
            yield "seeds", ", ".join(map(str, scenario.seeds))
