"""``simgmc timeline``: watch a window of a finished run's rounds, from its stored costs and without torch.

For each method four things are written, see :mod:`simgmc.network.cluster.chrome_trace`,
:mod:`simgmc.results.figures.timeline_plots` and :mod:`simgmc.results.figures.topology_plot`: a Chrome trace
and a Gantt picture of the window, the load of its links over time, and the network with its
links coloured by their load over the whole run.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from simgmc.core.errors import SimgmcError, reason, show_value, suggestion
from simgmc.core.quantities import percent_text, time_text
from simgmc.core.terminal import plain_console
from simgmc.core.units import grid_number
from simgmc.experiment.events import EventLoop
from simgmc.experiment.plan import Training, cluster_settings, require_stated_times, trainings
from simgmc.network import ClusterSettings, simulate
from simgmc.network.cluster.chrome_trace import chrome_trace
from simgmc.network.cluster.peers import LAST_OF_INSTANT, Peers
from simgmc.network.cluster.timeline import Recorder, Span, Timeline
from simgmc.results.directory.rows import cell
from simgmc.results.directory.run_directory import COLLECTIVE_KEY, RunDirectory, open_run
from simgmc.scenario import GridPoint, ScenarioFile
from simgmc.training.journal import Journal

DEFAULT_ROUNDS = 5
"""Rounds shown where none are asked for, or fewer in a shorter run."""
_AHEAD = 4
"""Rounds after the window that are simulated, for the traffic of workers that are ahead."""


@dataclasses.dataclass(frozen=True)
class Watched:
    """A window of one series, and what is known of the whole."""

    method: str
    name: str
    """For people: the method, the grid point and the seed."""
    stem: str
    """Of the names of its files."""
    settings: ClusterSettings
    window: tuple[int, int]
    timeline: Timeline
    loads: dict[tuple[str, str], float]
    """Share of its bandwidth that each link used over the whole run, 0 to 1; only of those that carried bytes."""
    rounds: int
    """Of the whole run; of its slowest worker where every worker has its own."""
    seconds: float
    """Simulated time of the whole run."""


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

    ``seed`` and ``at`` (grid keys and values) choose the series, by default the first of each;
    ``rounds`` is ``FIRST:LAST`` (both included) or one number.
    """
    console = console or plain_console()
    directory = open_run(run)
    file = ScenarioFile.read(directory.path / "scenario.toml")
    require_stated_times(file.points, file.place)
    at = list(at)
    chosen = _choose(directory, file, methods, seed, at)
    folder = Path(out) if out else directory.path / "timeline"
    stems = _stems(
        [training.method.name for training, _ in chosen],
        [*(value for _, value in at), *([] if seed is None else [f"seed{seed}"])],
    )
    written = []
    for (training, point), stem in zip(chosen, stems, strict=True):
        watched = watch(directory, training, point, rounds, stem)
        files = write(watched, directory, folder)
        written += files
        first, last = watched.window
        loads = watched.loads
        busiest = max(loads, key=lambda link: loads[link], default=None)
        found = (
            "nothing is sent"
            if busiest is None
            else f"busiest link of the run {' -> '.join(busiest)} ({percent_text(round(loads[busiest], 4))})"
        )
        console.print(
            f"{watched.name}: rounds {first} to {last} of {watched.rounds}, "
            f"{time_text(watched.timeline.begin)} to {time_text(watched.timeline.end)}; {found}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
    console.print(
        f"wrote {len(written)} files into {folder} (open the traces at https://ui.perfetto.dev)",
        markup=False,
        highlight=False,
        soft_wrap=True,
    )
    return written


def watch(directory: RunDirectory, training: Training, point: GridPoint, rounds: str | None, stem: str) -> Watched:
    """Simulate a window of a finished series in every detail, and the whole for its totals."""
    if training.asynchronous:
        return _watch_asynchronous(directory, training, point, rounds, stem)
    costs = directory.read_costs(training.key)
    total = min(directory.breakdowns()[training.series(point)].rounds, len(costs))
    first, last = _window(rounds, total, str(directory.path))
    settings = cluster_settings(point.scenario, training.method, training.seed)
    recorder = Recorder(first, last)
    timing = simulate(settings, itertools.islice(costs, min(last + 1 + _AHEAD, total)), recorder=recorder)
    whole = simulate(settings, costs)
    return Watched(
        training.method.name,
        _name(training, point),
        stem,
        settings,
        (first, last),
        recorder.timeline(settings.workers, timing.round_end),
        _loads(whole.links, whole.utilisation, whole.link_bytes),
        len(whole.round_end),
        whole.total,
    )


def _watch_asynchronous(
    directory: RunDirectory, training: Training, point: GridPoint, rounds: str | None, stem: str
) -> Watched:
    """The same of a training that the clock drove, by its journal. Workers have rounds of their own:
    the window is that in which the chosen ones take place."""
    settings = cluster_settings(point.scenario, training.method, training.seed)
    journal, seconds = directory.read_journal(training.key), directory.breakdowns()[training.series(point)].sim_time_s
    peers = Peers(settings)
    ends = _again(peers, journal, seconds).round_ends
    total = min(map(len, ends))
    first, last = _window(rounds, total, str(directory.path))
    begin = min(own[first - 1] for own in ends) if first else 0.0
    end = max(own[last] for own in ends)
    # What is under way at the window's end becomes known when it is over.
    after = max(min((time for time in own if time > end), default=seconds) for own in ends)

    def round_at(time: float) -> int:
        return (2 if time > end else 1) if time >= begin else 0 if time >= 2 * begin - end else -1

    recorder = Recorder(1, 1)
    _again(Peers(settings, recorder, round_at), journal, min(after, seconds))
    found = recorder.timeline(settings.workers, np.array([[begin] * len(ends), [end] * len(ends)]))
    own_rounds = {
        host: tuple((n, b, e) for n, (b, e) in enumerate(zip([0.0, *own], own, strict=False)) if begin < e <= end)
        for host, own in zip(settings.workers, ends, strict=True)
    }

    def plain(spans: tuple[Span, ...]) -> tuple[Span, ...]:
        return tuple(
            dataclasses.replace(span, label=span.label.removeprefix("round 1").removeprefix(": ")) for span in spans
        )

    bandwidth = np.array(peers.fabric.links.bandwidth)
    used = peers.link_bytes / bandwidth / seconds if seconds else np.zeros(len(bandwidth))
    return Watched(
        training.method.name,
        _name(training, point),
        stem,
        settings,
        (first, last),
        dataclasses.replace(found, rounds=own_rounds, actions=plain(found.actions), carried=plain(found.carried)),
        _loads(peers.fabric.links.names, np.nan_to_num(used), peers.link_bytes),
        total,
        seconds,
    )


def _again(peers: Peers, journal: np.ndarray, until: float) -> EventLoop:
    """The events of a finished training up to some time, without training."""
    loop = EventLoop(peers, Journal(None, journal), lambda loop: None)
    peers.clock.call_at(until, lambda _: peers.stop(), LAST_OF_INSTANT)
    loop.run()
    return loop


def _loads(links: Sequence[tuple[str, str]], shares: np.ndarray, nbytes: np.ndarray) -> dict[tuple[str, str], float]:
    used = zip(links, shares.tolist(), nbytes.tolist(), strict=True)
    return {link: share for link, share, carried in used if carried > 0}


def _name(training: Training, point: GridPoint) -> str:
    where = [f"{key.removeprefix('cluster.')} {value}" for key, value in point.values.items() if key != COLLECTIVE_KEY]
    return ", ".join([training.method.name, str(training.series(point).transport), *where, f"seed {training.seed}"])


def write(watched: Watched, directory: RunDirectory, folder: Path) -> list[Path]:
    """The trace and the pictures of one series, each file replaced at once."""
    from simgmc.results.figures import panels, timeline_plots, topology_plot

    try:
        trace = json.dumps(chrome_trace(watched.timeline), separators=(",", ":")).encode()
        files = [directory.replace(folder / f"{watched.stem}.trace.json", trace)]
        servers = watched.settings.server_hosts
        with panels.style():
            figures = {
                "gantt": timeline_plots.gantt(watched.timeline, watched.name),
                "links": timeline_plots.link_loads(watched.timeline, watched.name),
                "topology": topology_plot.draw(
                    watched.settings.graph, watched.loads, servers, watched.name, watched.seconds
                ),
            }
            for what, figure in figures.items():
                files += panels.save([figure], folder, f"{watched.stem}.{what}", directory.replace, ("png", "pdf"))
    except OSError as error:
        raise SimgmcError(f"cannot write to {folder}: {reason(error)}") from None
    return files


def _choose(
    directory: RunDirectory, file: ScenarioFile, methods: Sequence[str], seed: int | None, at: Sequence[tuple[str, Any]]
) -> list[tuple[Training, GridPoint]]:
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
    finished = directory.finished()
    chosen = []
    for training in trainings(file.points):
        if training.seed != seed or training.method.name not in (methods or names) or not training.covers(point):
            continue
        if training.series(point) not in finished or not (training.asynchronous or directory.has_costs(training.key)):
            raise SimgmcError(
                f"{directory.path}: {training.method.name} with seed {seed} is not finished there; "
                "give the same simgmc run command again to go on with the run"
            )
        chosen.append((training, point))
    return chosen


def _point(directory: RunDirectory, file: ScenarioFile, at: Sequence[tuple[str, Any]]) -> GridPoint:
    """The first point of the grid that has all these values."""
    points = list(file.points)
    for key, value in at:
        if key not in file.grid:
            grid = suggestion(key, list(file.grid)) if file.grid else "it has none"
            raise SimgmcError(f"{directory.path}: {key} is not a key of the run's grid; {grid}")
        points = [point for point in points if _same(point.values[key], value)]
        if not points:
            values = ", ".join(show_value(known) for known in file.grid[key])
            raise SimgmcError(
                f"{directory.path}: {key} = {show_value(value)} is not in the run's grid; it has {values}"
            )
    return points[0]


def _same(one: Any, other: Any) -> bool:
    """Equal as written, or the same quantity."""
    if cell(one) == cell(other):
        return True
    quantity = grid_number(cell(one))
    return quantity is not None and quantity == grid_number(cell(other))


def _window(rounds: str | None, total: int, place: str) -> tuple[int, int]:
    """First and last round, both included."""
    if total == 0:
        raise SimgmcError(f"{place}: the run has no rounds to show")
    if rounds is None:
        return 0, min(DEFAULT_ROUNDS, total) - 1
    found = re.fullmatch(r"\s*(\d+)\s*(?::\s*(\d+)\s*)?", rounds)
    if found is None:
        raise SimgmcError(
            f"rounds = {rounds!r}: must be FIRST:LAST, such as 0:{min(DEFAULT_ROUNDS, total) - 1}, or one number"
        )
    first = int(found[1])
    last = first if found[2] is None else int(found[2])
    if first > last or last >= total:
        raise SimgmcError(
            f"rounds = {rounds}: must be FIRST:LAST with 0 <= FIRST <= LAST <= {total - 1}, the run's last round"
        )
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
