"""How near the simulated time of an exchange is to that of real processes on a real, shaped network.

    python analysis/twin.py            # measure what is not there (Linux, root), then hold the simulation against it;
                                       # killed, it goes on with the next network (8 minutes in all)
    python analysis/twin.py --again    # from the rows that are there

4 and 8 ranks in network namespaces of their own, links of 20 to 200 Mbit/s shaped in both directions (`tc tbf`), Gloo.
Every exchange is timed with three sizes; the transport's efficiency and software are fitted on the smallest and the
largest, a pair of numbers for each kind of exchange on each network, and the one in between is predicted. A round here
is an exchange and nothing else: no gradient makes the relative error smaller.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from simgmc.costs.steps import Mix, RoundCosts
from simgmc.distributed.twin.laboratory import Laboratory
from simgmc.distributed.twin.measuring import Timed, read
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, star, worker_names
from simgmc.network.calibration.fit import Fit, fit
from simgmc.network.cluster.cluster import simulate
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.overheads import IDEAL, Overheads

RESULTS = Path(__file__).parent / "results"
ROWS = RESULTS / "twin_rows.jsonl"
NODES, MBITS = (4, 8), (20, 50, 100, 200)
COLLECTIVES = ("ring", "ring-all-gather", "parameter-server", "gossip", "two-level")
PER_MBIT = 10_000
"""Bytes of the vector in the middle, for each Mbit/s: an exchange takes as long on every network."""
SIZES = (1 / 3, 1.0, 2.0)
DENSITY = 0.01
REPETITIONS = 5
LATENCY = 12e-6
"""Seconds, one way: half of what a packet takes there and back in the laboratory."""


def measure() -> None:
    """All exchanges on all networks, one laboratory after the other; those that are there are kept."""
    there = {(one.workers, bandwidth) for bandwidth, _, one in rows()} if ROWS.exists() else set()
    for nodes in NODES:
        for mbit in MBITS:
            if (nodes, mbit * 125e3) in there:
                continue
            begun = time.monotonic()
            names, bandwidth = worker_names(nodes), mbit * 125e3
            half = nodes // 2
            sites = [list(range(half)), list(range(half, nodes))]
            wanted = [
                {
                    "collective": name,
                    "nbytes": round(size * PER_MBIT * mbit),
                    "density": density,
                    "sites": sites if name == "two-level" else [],
                }
                for size in SIZES
                for density in (None, DENSITY)
                for name in COLLECTIVES
            ]
            with tempfile.TemporaryDirectory() as folder:
                plan, out = Path(folder) / "plan.json", Path(folder) / "rows.jsonl"
                plan.write_text(json.dumps({"wanted": wanted, "repetitions": REPETITIONS}))
                command = [sys.executable, "-m", "simgmc.distributed.twin.measuring", str(plan), str(out)]
                with Laboratory(star([Host(name, bandwidth, bandwidth, 0.0) for name in names]), names) as laboratory:
                    done = laboratory.run(dict.fromkeys(names, command), {}, 600.0)
                failed = {host: errors[-500:] for host, (status, _, errors) in done.items() if status}
                if failed:
                    raise SystemExit(f"{nodes} ranks, {mbit} Mbit/s: {failed}")
                load = os.getloadavg()[0]
                with ROWS.open("a", encoding="utf-8") as kept:
                    for line in out.read_text().splitlines():
                        kept.write(json.dumps({"mbit": mbit, "load": round(load, 1)} | json.loads(line)) + "\n")
            print(f"{nodes} ranks, {mbit} Mbit/s: {time.monotonic() - begun:.0f} s, load {load:.1f}", flush=True)


def rows() -> list[tuple[float, float, Timed]]:
    """(bytes/s, load of the machine, what was timed) of every exchange."""
    found = []
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl") as bare:
        networks = []
        for line in ROWS.read_text().splitlines():
            row = json.loads(line)
            networks.append((row.pop("mbit") * 125e3, row.pop("load")))
            bare.write(json.dumps(row) + "\n")
        bare.flush()
        found = [(*network, one) for network, one in zip(networks, read(Path(bare.name)), strict=True)]
    return found


def settings_of(one: Timed, bandwidth: float, overheads: Overheads) -> ClusterSettings:
    """The laboratory, simulated: sends are not sliced, and a server is at worker 0."""
    names = worker_names(one.workers)
    cost = one.cost
    name = "ring" if isinstance(cost, Mix) else one.wanted.collective
    sliced = name in ("ring", "ring-all-gather")
    return ClusterSettings(
        graph=star([Host(host, bandwidth, bandwidth, LATENCY / 2) for host in names]),
        workers=names,
        server=names[0] if name == "parameter-server" else None,
        collective=name,
        compute=ComputeTime(1.0),
        compression=Duration(0.0),
        aggregation=Duration(one.aggregate),
        options=Options(slices=1 if sliced else None, groups=one.wanted.sites),
        conditions=(overheads,),
    )


def simulated(one: Timed, bandwidth: float, overheads: Overheads) -> float:
    """Seconds of the exchange."""
    return simulate(settings_of(one, bandwidth, overheads), [RoundCosts([one.cost])]).total


def kind_of(one: Timed) -> str:
    """The exchange, and whether its messages are sparse."""
    return f"{one.wanted.collective}, {'dense' if one.wanted.density is None else '1 % sparse'}"


class Predicted(NamedTuple):
    """An exchange, measured and simulated."""

    kind: str
    timed: Timed
    bandwidth: float
    """Bytes/s."""
    measured: float
    """Seconds."""
    ideal: float
    """With an ideal transport."""
    fitted: float
    """With the fitted one."""


def middle(bandwidth: float, one: Timed) -> bool:
    """Whether it is of the size that is predicted."""
    return one.wanted.nbytes == round(PER_MBIT * bandwidth / 125e3)


def evaluate(of_network: Callable[[float, Timed], object]) -> tuple[dict[tuple[str, object], Fit], list[Predicted]]:
    """Fits on the other sizes, one for each kind of exchange and each ``of_network(bytes/s, timed)``; every exchange
    in the middle."""
    groups: dict[tuple[str, object], list[tuple[float, Timed]]] = defaultdict(list)
    for bandwidth, _, one in rows():
        groups[kind_of(one), of_network(bandwidth, one)].append((bandwidth, one))
    fits, found = {}, []
    for key, members in groups.items():
        others = [member for member in members if not middle(*member)]
        measured = [float(np.median(one.seconds)) for _, one in others]
        fits[key] = fit(partial(_predict, others), measured, latency=False)
        for bandwidth, one in (member for member in members if middle(*member)):
            before, after = (simulated(one, bandwidth, overheads) for overheads in (IDEAL, fits[key].overheads))
            found += [Predicted(key[0], one, bandwidth, seconds, before, after) for seconds in one.seconds]
    return fits, found


def _predict(members: list[tuple[float, Timed]], row: int, overheads: Overheads) -> float:
    return simulated(members[row][1], members[row][0], overheads)


def _errors(found: list[Predicted], of: Callable[[Predicted], float]) -> np.ndarray:
    return np.array([abs(of(row) / row.measured - 1) for row in found])


def report() -> None:
    """`results/twin.md` and its picture."""
    _, found = evaluate(lambda bandwidth, one: (one.workers, bandwidth))
    shared, shared_found = evaluate(lambda bandwidth, one: None)
    loads = [load for _, load, _ in rows()]
    errors, before = _errors(found, lambda row: row.fitted), _errors(found, lambda row: row.ideal)
    together = _errors(shared_found, lambda row: row.fitted)
    lines = [
        "# Simulated exchanges beside real ones",
        "",
        "`python analysis/twin.py`: " + " ".join((__doc__ or "").split("\n\n")[2].split()),
        "",
        f"Measured on a machine of {os.cpu_count()} cores with a load of {min(loads):.0f} to {max(loads):.0f}, "
        "the ranks' own included; they went before other work (SCHED_RR), the kernel's packets did not.",
        "",
        f"**{len(errors)} rounds: median relative error {np.median(errors):.1%}, 90th percentile "
        f"{np.quantile(errors, 0.9):.1%}**. With nothing fitted {np.median(before):.1%} and "
        f"{np.quantile(before, 0.9):.1%}; with one pair of numbers for each kind over all networks "
        f"{np.median(together):.1%} and {np.quantile(together, 0.9):.1%}.",
        "",
        "| exchange | rounds | median | 90 % | median, nothing fitted | one pair over all networks: efficiency "
        "| software | median |",
        "| --- " * 8 + "|",
    ]
    kinds = list(dict.fromkeys(row.kind for row in found))
    for kind in kinds:
        mine = np.array([row.kind == kind for row in found])
        alike = np.array([row.kind == kind for row in shared_found])
        overheads = shared[kind, None].overheads
        lines.append(
            f"| {kind} | {mine.sum()} | {np.median(errors[mine]):.1%} | {np.quantile(errors[mine], 0.9):.1%} | "
            f"{np.median(before[mine]):.1%} | {overheads.efficiency:.3f} | {1e6 * overheads.software:.0f} µs | "
            f"{np.median(together[alike]):.1%} |"
        )
    lines += ["", "Measured (median of the repetitions) / simulated, ms:", ""]
    lines += ["| exchange | ranks | " + " | ".join(f"{mbit} Mbit/s" for mbit in MBITS) + " |", "| --- " * 6 + "|"]
    for kind in kinds:
        for nodes in NODES:
            cells = []
            for mbit in MBITS:
                here = [
                    row
                    for row in found
                    if row.kind == kind and row.timed.workers == nodes and row.bandwidth == mbit * 125e3
                ]
                measured, after = float(np.median([row.measured for row in here])), here[0].fitted
                cells.append(f"{1e3 * measured:.1f} / {1e3 * after:.1f} ({after / measured - 1:+.1%})")
            lines.append(f"| {kind} | {nodes} | " + " | ".join(cells) + " |")
    lines += [
        "",
        "Where it misses, and why.",
        "",
        "- Messages of less than a frame or two, on 20 and 50 Mbit/s: a token bucket lets a frame pass at once after a "
        "pause (`tc tbf` cannot hold less than one), so that they take no time of the link at all: between two hosts "
        "at 20 Mbit/s an exchange takes 0.37 ms with 1 byte and 0.32 ms with 1,400, then 0.63 ms more with every "
        "further 1,400. A line through two sizes does not have that bend.",
        "- Exchanges of some milliseconds, 1 % sparse, are mostly what ranks do between messages (encoding, telling "
        "lengths, three writes of Gloo for each message, waking up), and all ranks do that on the laboratory's few "
        "cores: eight take several times as long as four, and not in proportion to bytes or messages.",
        "- Eight ranks at 200 Mbit/s are 1.6 Gbit/s through these cores, which then are the bottleneck and no link.",
        "- Gossip sends and receives over the same two connections, whose acknowledgements wait behind the data of the "
        "other direction.",
        "- Other work on the machine: a single repetition that something interrupts counts as a round.",
        "",
        "Large exchanges and the server, whose link is busy throughout, are right to a percent or two.",
        "",
        "![measured against simulated](twin.png)",
        "",
    ]
    (RESULTS / "twin.md").write_text("\n".join(lines), encoding="utf-8")
    draw(found)
    print("\n".join(lines))


def draw(found: list[Predicted]) -> None:
    """Measured against simulated, and the errors by kind."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.2, 3.6), layout="constrained")
    against, errors = figure.subplots(1, 2, width_ratios=(1, 1.2))
    kinds = list(dict.fromkeys(row.kind for row in found))
    colours = dict(zip(kinds, ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00") * 2))
    for place, kind in enumerate(kinds):
        mine = [row for row in found if row[0] == kind]
        face = "white" if "sparse" in kind else colours[kind]
        style = {"s": 12, "edgecolors": colours[kind], "facecolors": face, "linewidths": 0.7}
        against.scatter([row[3] for row in mine], [row[5] for row in mine], **style)
        errors.scatter([100 * (row[5] / row[3] - 1) for row in mine], [place] * len(mine), **style)
    seconds = [value for row in found for value in (row[3], row[5])]
    span = (0.8 * min(seconds), 1.25 * max(seconds))
    against.plot(span, span, color="0.6", linewidth=0.8, zorder=0)
    against.set(xscale="log", yscale="log", xlim=span, ylim=span, xlabel="measured (s)", ylabel="simulated (s)")
    errors.axvspan(-5, 5, color="0.9", zorder=0, linewidth=0)
    errors.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    errors.set_yticks(range(len(kinds)), kinds, fontsize=7)
    errors.invert_yaxis()
    errors.set_xlabel("error of a round (%); hollow: 1 % sparse", fontsize=8)
    for axes in (against, errors):
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(RESULTS / "twin.png", dpi=180)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--again", action="store_true", help="from the rows that are there")
    if not parser.parse_args().again:
        measure()
    report()
