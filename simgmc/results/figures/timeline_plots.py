"""Pictures of a window of rounds: what every worker did when, and how loaded the links were."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from simgmc.core.quantities import bandwidth_text, number, percent_text, time_text, time_unit
from simgmc.network.cluster.timeline import Timeline
from simgmc.results.directory.details import PARTS
from simgmc.results.figures import panels
from simgmc.results.figures.bars import PART_COLORS
from simgmc.results.figures.panels import PAGE_WIDTH, Page, Panel

MAX_HOSTS = 24
"""Rows of workers in a Gantt picture; of more workers as many, evenly chosen, are shown."""
MAX_LINKS = 8
"""Rows of links; the busiest are shown."""
_TRAFFIC = "#0072B2"
_BINS = 700
"""Averages along the time axis that take the place of more changes than can be told apart."""


def gantt(timeline: Timeline, name: str) -> Figure:
    """Workers (and servers) as rows, the parts of their time as bars; below, the busiest links.

    The thin bar under a worker's is the time in which it sends. A row of a link is filled up
    to its load.
    """
    workers, hidden = _shown_workers(timeline)
    servers = [host for host in dict.fromkeys(span.track for span in timeline.actions) if host not in timeline.rounds]
    servers, more_servers = servers[:4], len(servers[4:])
    links, others = busiest_links(timeline, MAX_LINKS)
    rows, below = len(workers) + len(servers), max(len(links), 1)
    each = 0.25 if rows <= 12 else 0.19
    # A window of one busy link still needs room for the words beside it.
    figure = Figure(figsize=(PAGE_WIDTH, 1.55 + each * (rows + 1) + 0.25 * (below + 1)))
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(each * rows, 0.25 * below))
    for place, host in enumerate((*workers, *servers)):
        _host_row(upper, timeline, host, place)
    for place, link in enumerate(links):
        _link_row(lower, timeline, link, place)
    _rows(upper, [*workers, *servers])
    _rows(lower, [_arrow(link) for link in links])
    _round_numbers(upper, timeline, workers[0])
    _time_axis(lower, timeline)
    upper.tick_params(axis="x", length=0, labelbottom=False)
    lower.set_title(_links_title(timeline, links, others), fontsize=7, loc="left", pad=3)
    upper.set_xlim(timeline.begin, timeline.end)
    panel = Panel(name, ())
    panels.titles(Page(figure, {panel: upper}, [[panel]]), lambda _: _finding(timeline))
    used = [part for part in PARTS if any(span.what == part for span in timeline.parts)]
    handles: list = [Patch(color=PART_COLORS[part]) for part in used]
    handles += [Line2D([], [], color=_TRAFFIC, lw=2.2), Line2D([], [], color="#202020", lw=0.9)]
    notes = []
    if hidden:
        notes.append(f"{len(workers)} of {len(workers) + hidden} workers are shown")
    if more_servers:
        notes.append(f"{len(servers)} of {len(servers) + more_servers} servers are shown")
    panels.legend(figure, handles, [*used, "sending / link load", "end of a round"], "; ".join(notes))
    return figure


def link_loads(timeline: Timeline, name: str) -> Figure:
    """The busiest links' load over the window, in percent of their bandwidth, a panel for each."""
    links, others = busiest_links(timeline, MAX_LINKS)
    count = max(len(links), 1)
    figure = Figure(figsize=(PAGE_WIDTH, 1.2 + 0.48 * count))
    grid = figure.subplots(count, 1, sharex=True, squeeze=False)[:, 0]
    for axis, link in zip(grid, links):
        times, loads = _load(timeline, link)
        axis.fill_between(times, 100 * loads, step="post", color=_TRAFFIC, alpha=0.35, lw=0)
        axis.step(times, 100 * loads, where="post", color=_TRAFFIC, lw=0.8)
        mean, peak = timeline.mean_load(link), max(rate for _, rate in timeline.rates[link]) / timeline.bandwidth[link]
        axis.annotate(
            f"mean {percent_text(round(mean, 3))}\npeak {percent_text(round(peak, 3))}",
            (1, 0.5), xytext=(5, 0), xycoords="axes fraction", textcoords="offset points", va="center", fontsize=6.5,
        )  # fmt: skip
        axis.set_ylabel(
            f"{_arrow(link)}\n{bandwidth_text(timeline.bandwidth[link])}",
            rotation=0,
            ha="right",
            va="center",
            fontsize=7,
        )
        axis.set_yticks([0, 50, 100], ["0", "", "100 %"], fontsize=6)
        axis.set_ylim(0, 108)
    if not links:
        grid[0].set_yticks([])
    _time_axis(grid[-1], timeline)
    grid[-1].set_xlim(timeline.begin, timeline.end)
    for axis in grid[:-1]:
        axis.tick_params(axis="x", length=0)
    panel = Panel(name, ())
    averaged = any(len(timeline.rates[link]) > 2 * _BINS for link in links)
    note = f"; averaged over {time_text((timeline.end - timeline.begin) / _BINS)}" if averaged else ""
    panels.titles(
        Page(figure, {panel: grid[0]}, [[panel]]), lambda _: _loads_finding(timeline, links, others) + note, 1.5
    )
    return figure


def busiest_links(timeline: Timeline, most: int) -> tuple[list[str], int]:
    """Links that carry bytes and can be loaded, the busiest first, and how many are left out."""
    loads = {
        link: round(timeline.mean_load(link), 6) for link in timeline.rates if 0 < timeline.bandwidth[link] < np.inf
    }
    links = sorted(loads, key=lambda link: -loads[link])
    return links[:most], len(timeline.rates) - len(links[:most])


def _shown_workers(timeline: Timeline) -> tuple[list[str], int]:
    hosts = list(timeline.rounds)
    if len(hosts) <= MAX_HOSTS:
        return hosts, 0
    places = np.unique(np.linspace(0, len(hosts) - 1, MAX_HOSTS).round().astype(int))
    return [hosts[place] for place in places], len(hosts) - len(places)


def _host_row(axis: Axes, timeline: Timeline, host: str, place: int) -> None:
    worker = host in timeline.rounds
    what = [(s.what, s.start, s.end) for s in (timeline.parts if worker else timeline.actions) if s.track == host]
    for part in PARTS:
        bars = [(start, end - start) for kind, start, end in what if kind == part]
        if bars:
            axis.broken_barh(
                bars,
                (place - 0.42, 0.6),
                facecolor=PART_COLORS[part],
                edgecolor=PART_COLORS[part],
                lw=0.1,
                rasterized=len(bars) > 2000,
            )
    sends = _union([(s.start, s.end) for s in timeline.actions if s.track == host and s.what == "send"])
    if sends:
        bars = [(start, end - start) for start, end in sends]
        axis.broken_barh(
            bars, (place + 0.23, 0.17), facecolor=_TRAFFIC, edgecolor=_TRAFFIC, lw=0.1, rasterized=len(bars) > 2000
        )
    for _, _, end in timeline.rounds.get(host, ()):
        axis.plot(
            [end, end], [place - 0.46, place + 0.44], color="#202020", lw=0.9, solid_capstyle="butt", clip_on=False
        )


def _link_row(axis: Axes, timeline: Timeline, link: str, place: int) -> None:
    times, loads = _load(timeline, link)
    floor = place + 0.4
    axis.fill_between(
        times, floor, floor - 0.8 * loads, step="post", color=_TRAFFIC, lw=0, rasterized=len(times) > 2000
    )
    axis.plot([timeline.begin, timeline.end], [floor, floor], color="#A0A0A0", lw=0.4)
    axis.annotate(
        percent_text(round(timeline.mean_load(link), 3)), (1, place), xytext=(4, 0), xycoords=("axes fraction", "data"),
        textcoords="offset points", va="center", fontsize=6.5, annotation_clip=False,
    )  # fmt: skip


def _union(intervals: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Intervals that overlap or touch, joined."""
    joined: list[tuple[float, float]] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(end, joined[-1][1]))
        else:
            joined.append((start, end))
    return joined


def _load(timeline: Timeline, link: str) -> tuple[np.ndarray, np.ndarray]:
    """Times and the load (0 to 1) from each on; averages where there are very many."""
    changes = np.array([*timeline.rates[link], (timeline.end, 0.0)])
    times, loads = changes[:, 0], changes[:, 1] / timeline.bandwidth[link]
    loads[-1] = loads[-2]
    if len(times) <= 2 * _BINS:
        return times, loads
    carried = np.concatenate([[0.0], np.cumsum(loads[:-1] * np.diff(times))])
    edges = np.linspace(timeline.begin, timeline.end, _BINS + 1)
    means = np.diff(np.interp(edges, times, carried)) / np.diff(edges)
    return edges, np.append(means, means[-1])


def _arrow(link: str) -> str:
    return link.replace(" -> ", " → ")


def _rows(axis: Axes, names: list[str]) -> None:
    axis.set_yticks(range(len(names)), names)
    axis.set_ylim(max(len(names), 1) - 0.5, -0.5)
    axis.tick_params(axis="y", length=0)
    axis.grid(visible=False, axis="y")
    for side in ("left", "bottom"):
        axis.spines[side].set_visible(side == "bottom")


def _round_numbers(axis: Axes, timeline: Timeline, host: str) -> None:
    """The numbers of a worker's rounds under the rows, where they have room, if at least every other has."""
    room = (timeline.end - timeline.begin) / (PAGE_WIDTH - 1.6)
    words = [(f"round {number_}", start, end) for number_, start, end in timeline.rounds[host]]
    fitting = [one for one in words if one[2] - one[1] > room * (panels.text_width(one[0], 6.5) + 0.05)]
    if 2 * len(fitting) < len(words):
        return
    for text, start, end in fitting:
        axis.annotate(
            text, ((start + end) / 2, 0), xycoords=("data", "axes fraction"), xytext=(0, -2),
            textcoords="offset points", ha="center", va="top", fontsize=6.5, color="#404040",
        )  # fmt: skip


def _time_axis(axis: Axes, timeline: Timeline) -> None:
    """Simulated time; from the window's beginning where that is far from the start of the run."""
    length = timeline.end - timeline.begin
    scale, unit = time_unit(timeline.end if not timeline.begin else length)
    label = f"simulated time ({unit})"
    if timeline.begin:
        label = f"simulated time since the window began, at {time_text(timeline.begin)} ({unit})"
    ticks = MaxNLocator(nbins=8, steps=[1, 2, 2.5, 5, 10]).tick_values(0, length / scale)
    ticks = [tick for tick in ticks if 0 <= tick <= length / scale * (1 + 1e-9)]
    axis.set_xticks(
        [timeline.begin + tick * scale for tick in ticks], [panels.plain(float(number(tick, 6))) for tick in ticks]
    )
    axis.set_xlabel(label)


def _links_title(timeline: Timeline, links: list[str], others: int) -> str:
    if not links:
        return "no link carries bytes"
    which = (
        f"the busiest {len(links)} of {len(links) + others} links that carry bytes"
        if others
        else "all links that carry bytes"
    )
    return f"{which}; full height is the whole bandwidth, at the right the mean"


def _finding(timeline: Timeline) -> str:
    """What most of the time went into, over all workers."""
    seconds = {part: sum(span.end - span.start for span in timeline.parts if span.what == part) for part in PARTS}
    whole = sum(seconds.values())
    if not whole:
        return "no time passes"
    largest = sorted((part for part in PARTS if seconds[part] > 0), key=lambda part: -seconds[part])[:2]
    return "the workers' time is " + " and ".join(
        f"{percent_text(round(seconds[part] / whole, 3))} {part}" for part in largest
    )


def _loads_finding(timeline: Timeline, links: list[str], others: int) -> str:
    if not links:
        return "no link carries bytes"
    left = f"; the busiest {len(links)} of {len(links) + others} links that carry bytes are shown" if others else ""
    load = percent_text(round(timeline.mean_load(links[0]), 3))
    return f"the busiest link, {_arrow(links[0])}, uses {load} of its bandwidth{left}"
