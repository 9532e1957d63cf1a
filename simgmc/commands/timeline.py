"""``simgmc timeline``: watch a window of a finished run's rounds, from its stored costs and without torch.

For each method four things are written, see :mod:`simgmc.network.cluster.chrome_trace`,
:mod:`simgmc.results.figures.timeline_plots` and :mod:`simgmc.results.figures.topology_plot`: a Chrome trace
and a Gantt picture of the window, the load of its links over time, and the network with its
links coloured by their load over the whole run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from simgmc.core.errors import SimgmcError, reason, show_value, suggestion
from simgmc.core.files import reading_copies
from simgmc.core.quantities import percent_text, time_text
from simgmc.core.terminal import plain_console, print_line
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.experiment.training import Training, Watched
from simgmc.network import ClusterSettings
from simgmc.network.cluster.chrome_trace import chrome_trace
from simgmc.results.directory.outside_files import copies
from simgmc.results.directory.records import Breakdown
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import RunDirectory, open_run
from simgmc.results.series.read import same_value
from simgmc.scenario import GridPoint, ScenarioFile

DEFAULT_ROUNDS = 5
"""Rounds shown where none are asked for, or fewer in a shorter run."""


class NoSuchRounds(SimgmcError):
    """A series has fewer rounds than are to be shown, or none."""


def timeline(
    run: str | Path,
    *,
    methods: Sequence[str] = (),
    seed: int | None = None,
    at: Iterable[tuple[str, Any]] = (),
    rounds: str | None = None,
    out: str | Path | None = None,
    console: Console | None = None,
) -> list[Path]:
    """Watch a series of these methods of a run, or of every method; returns the files that were written.

    A series without the rounds asked for is named and left out. Raises NoSuchRounds where none has them.

    ``seed`` and ``at`` (grid keys and values) choose the series, by default the first of each;
    ``rounds`` is ``FIRST:LAST`` (both included) or one number.
    """
    directory = open_run(run)
    with reading_copies(copies(directory.path)):
        return _timeline(directory, methods, seed, list(at), rounds, out, console or plain_console())


def _timeline(
    directory: RunDirectory,
    methods: Sequence[str],
    seed: int | None,
    at: list[tuple[str, Any]],
    rounds: str | None,
    out: str | Path | None,
    console: Console,
) -> list[Path]:
    file = ScenarioFile.read(directory.path / "scenario.toml")
    require_stated_times(file.points, file.place)
    chosen = _choose(directory, file, methods, seed, at)
    folder = Path(out) if out else directory.path / "timeline"
    stems = _stems(
        [training.method.name for training, _, _ in chosen],
        [*(value for _, value in at), *([] if seed is None else [f"seed{seed}"])],
    )
    written: list[Path] = []
    missing: list[str] = []
    for (training, point, breakdown), stem in zip(chosen, stems, strict=True):
        name = _name(training, point)
        try:
            watched = training.watch(directory, point, breakdown, lambda total: _window(rounds, total))
        except NoSuchRounds as error:
            missing.append(f"{name}: {error}")
            continue
        written += write(watched, training.settings(point), name, directory, folder / stem)
        first, last = watched.window
        loads = watched.loads
        busiest = max(loads, key=lambda link: loads[link], default=None)
        found = (
            "nothing is sent"
            if busiest is None
            else f"busiest link of the run {' -> '.join(busiest)} ({percent_text(round(loads[busiest], 4))})"
        )
        print_line(
            console,
            f"{name}: rounds {first} to {last} of {watched.rounds}, "
            f"{time_text(watched.timeline.begin)} to {time_text(watched.timeline.end)}; {found}",
        )  # fmt: skip
    if missing and not written:
        raise NoSuchRounds("\n".join(f"{directory.path}: {one}" for one in missing))
    for one in missing:
        print_line(console, one)
    print_line(
        console,
        f"wrote {len(written)} files into {folder} (open the traces at https://ui.perfetto.dev)",
    )
    return written


def _name(training: Training, point: GridPoint) -> str:
    series = training.series(point)
    where = [f"{key.removeprefix('cluster.')} {text}" for key, text in series.grid]
    return ", ".join([series.method, str(series.transport), *where, f"seed {series.seed}"])


def write(watched: Watched, settings: ClusterSettings, name: str, directory: RunDirectory, stem: Path) -> list[Path]:
    """The trace and the pictures of one series, each file replaced at once; ``name``: for people."""
    from simgmc.results.figures import panels, timeline_plots, topology_plot  # loads matplotlib

    folder = stem.parent
    try:
        trace = json.dumps(chrome_trace(watched.timeline), separators=(",", ":")).encode()
        files = [directory.replace(folder / f"{stem.name}.trace.json", trace)]
        with panels.style():
            figures = {
                "gantt": timeline_plots.gantt(watched.timeline, name),
                "links": timeline_plots.link_loads(watched.timeline, name),
                "topology": topology_plot.draw(
                    settings.graph, watched.loads, settings.server_hosts, name, watched.seconds
                ),
            }
            for what, figure in figures.items():
                files += panels.save([figure], folder, f"{stem.name}.{what}", directory.replace, ("png", "pdf"))
    except OSError as error:
        raise SimgmcError(f"cannot write to {folder}: {reason(error)}") from None
    return files


def _choose(
    directory: RunDirectory, file: ScenarioFile, methods: Sequence[str], seed: int | None, at: Sequence[tuple[str, Any]]
) -> list[tuple[Training, GridPoint, Breakdown]]:
    """The series asked for, in the scenario's order."""
    scenario = file.points[0].scenario
    names = [one.name for one in scenario.methods]
    for method in methods:
        if method not in names:
            raise SimgmcError(f"{directory.path}: no method is called {method!r}; {suggestion(method, names)}")
    if seed is not None and seed not in scenario.seeds:
        raise SimgmcError(f"{directory.path}: seed {seed} was not run; it has {', '.join(map(str, scenario.seeds))}")
    point = _point(directory, file, at)
    seed = scenario.seeds[0] if seed is None else seed
    finished, chosen = directory.finished_among(directory.evaluations()), []
    for training in trainings(file.points):
        if training.seed != seed or training.method.name not in (methods or names) or not training.covers(point):
            continue
        if training.series(point) not in finished or not training.can_watch(directory):
            raise SimgmcError(
                f"{directory.path}: {training.method.name} with seed {seed} is not finished there; "
                "give the same simgmc run command again to go on with the run"
            )
        chosen.append((training, point, finished[training.series(point)]))
    return chosen


def _point(directory: RunDirectory, file: ScenarioFile, at: Sequence[tuple[str, Any]]) -> GridPoint:
    """The first point of the grid that has all these values."""
    points = list(file.points)
    for key, value in at:
        if key not in file.grid:
            grid = suggestion(key, list(file.grid)) if file.grid else "it has none"
            raise SimgmcError(f"{directory.path}: {key} is not a key of the run's grid; {grid}")
        points = [point for point in points if same_value(cell(point.values[key]), value)]
        if not points:
            values = ", ".join(show_value(known) for known in file.grid[key])
            raise SimgmcError(
                f"{directory.path}: {key} = {show_value(value)} is not in the run's grid; it has {values}"
            )
    return points[0]


def _window(rounds: str | None, total: int) -> tuple[int, int]:
    """First and last round, both included, of so many."""
    found = None if rounds is None else re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", rounds)
    if rounds is not None and found is None:
        raise SimgmcError(f"rounds = {rounds!r}: must be FIRST:LAST, such as 0:{DEFAULT_ROUNDS - 1}, or one number")
    if total == 0:
        raise NoSuchRounds("has no round to show")
    if found is None:
        return 0, min(DEFAULT_ROUNDS, total) - 1
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if first > last:
        raise SimgmcError(f"rounds = {rounds}: must be FIRST:LAST with FIRST <= LAST")
    if last >= total:
        raise NoSuchRounds(f"rounds = {rounds}: its last round is {total - 1}")
    return first, last


def _stems(methods: Sequence[str], chosen: Sequence[Any]) -> list[str]:
    """Names for files: the method and what was asked for, each different, no character special."""
    stems: list[str] = []
    for method in methods:
        stem = "-".join(re.sub(r"[^\w.+]+", "-", str(part)).strip("-") or "method" for part in (method, *chosen))
        while stem in stems:
            stem += "-"
        stems.append(stem)
    return stems
