"""``simgmc twin``: a scenario by real processes in a laboratory of namespaces, and simulated."""

from __future__ import annotations

import csv
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.quantities import bytes_text, percent_text, time_text
from simgmc.core.terminal import TextTable, print_line, print_table
from simgmc.distributed import measured
from simgmc.distributed.twin.comparison import Compared, Twin, compare, on_ranks
from simgmc.distributed.twin.events import compare_events
from simgmc.distributed.twin.events_shown import draw_events, events_said, events_table, write_events
from simgmc.distributed.twin.laboratory import Laboratory, dropped
from simgmc.distributed.twin.picture import draw
from simgmc.distributed.twin.protocol import OVERHEADS
from simgmc.distributed.twin.targets import Curve, Trained, at_rounds, reached, targets_said, targets_table
from simgmc.experiment.assembly import WorkloadFactory
from simgmc.experiment.asynchronous import AsynchronousTraining
from simgmc.experiment.plan import require_stated_times, trainings
from simgmc.experiment.training import Training
from simgmc.network import worker_names
from simgmc.network.conditions.overheads import Overheads
from simgmc.results.directory.run_directory import open_run
from simgmc.results.series.measures import measure_of
from simgmc.results.series.read import read_results
from simgmc.scenario import ScenarioFile

REAL = "real"
"""The folder with the processes' run directory."""


@dataclass(frozen=True)
class Asked:
    """What is to be done."""

    scenario: str
    """The file, as the processes read it."""
    options: Sequence[str]
    """Further options of the processes: settings, seeds, methods, where data lie."""
    out: Path
    overwrite: bool
    limit: float
    """Seconds after which the processes are stopped."""
    data_dir: str | None = None
    """Where data lie, if that is stated."""


def twin(file: ScenarioFile, asked: Asked, console: Console) -> None:
    """Run, simulate, print and write tables, pictures, every round and every evaluation of an asynchronous training.

    Raises:
        SimgmcError: a scenario that a laboratory cannot have, processes that failed (with what they said), or a
            machine without what it takes.
    """
    plan = _checked(file)
    scenario = file.points[0].scenario
    hosts = worker_names(scenario.workload.workers)
    graph = scenario.cluster.graph(len(hosts), "neighbours")
    place = asked.out / REAL
    with Laboratory(graph, hosts) as laboratory:
        round_trip = laboratory.round_trip()
        for line in _about(laboratory, round_trip):
            print_line(console, line)
        _run(laboratory, asked, place)
        network = _said_of_network(laboratory)
    directory, found, by_events, trained = open_run(place), [], [], []
    report = scenario.report
    measure = measure_of(report.metric, report.better == "higher")
    of_key = {one.key: one for one in read_results(directory, measure=measure).series}
    for training in plan:
        read = of_key[training.series(training.points[0])]
        cluster = on_ranks(training.settings(training.points[0]), hosts, round_trip, bool(laboratory.latency_by))
        if isinstance(training, AsynchronousTraining):
            workload = WorkloadFactory("cpu", asked.data_dir, 1)(training.scenario, training.seed)
            one = compare_events(training, workload, cluster, directory, read, measure)
            by_events.append(one)
            trained.append(Trained(one.method, one.measured, one.simulated))
            continue
        steps = measured.read(directory, training.key)
        costs = directory.read_costs(training.key)
        found.append(compare(training.method.name, training.seed, cluster, costs, steps))
        simulated = at_rounds(read, [row.simulated for row in found[-1].rounds], measure)
        trained.append(Trained(training.method.name, Curve(read["sim_time_s"], read[measure.column]), simulated))
    lines = [network, *(_said(found) if found else [])]
    tables = [_table(found), _bytes_table(found)] if found else []
    if by_events:
        tables.append(events_table(by_events))
        lines += events_said(by_events)
    if report.target is not None:
        times = reached(trained, measure, report.target)
        baseline = report.baseline or plan[0].method.name
        tables.append(targets_table(times, measure, report.target, baseline))
        lines += targets_said(times, measure, report.target, baseline)
    for table in tables:
        print_table(console, table.heading, table.header, {"": table.rows}, names=table.names)
        print_line(console, "")
    for line in lines:
        print_line(console, line)
    if found:
        _write(asked.out, found)
        draw(found, asked.out / "twin.png")
        print_line(
            console,
            f"every round and exchange: {asked.out}/twin.csv; bytes of every host: {asked.out}/twin_bytes.csv; "
            f"picture: {asked.out}/twin.png",
        )
    if by_events:
        write_events(asked.out / "twin_events.csv", by_events)
        draw_events(by_events, measure, asked.out / "twin_events.png")
        print_line(
            console,
            f"every evaluation and staleness: {asked.out}/twin_events.csv; picture: {asked.out}/twin_events.png",
        )


def _checked(file: ScenarioFile) -> list[Training]:
    """What is to be trained. Raises SimgmcError for what a laboratory cannot do."""
    if len(file.points) > 1:
        key, values = next(iter(file.grid.items()))
        raise SimgmcError(
            f"{file.place}: has a grid of {len(file.points)} points; a laboratory is one network: choose a point, such "
            f"as --set {key}={values[0]}"
        )
    require_stated_times(file.points, file.place)
    for condition in file.points[0].scenario.cluster.conditions:
        if not isinstance(condition, Overheads):
            raise SimgmcError(
                f"{file.place}: cluster.{condition.key}: is not made in a laboratory, whose links stay as they are and "
                "whose processes all go on; leave it out"
            )
    return trainings(file.points)


def _about(laboratory: Laboratory, round_trip: float) -> list[str]:
    links = {data["bandwidth"] for _, _, data in laboratory.graph.edges(data=True) if data["bandwidth"] != math.inf}
    spread = f"{8e-6 * min(links):g}" + (f" to {8e-6 * max(links):g}" if len(links) > 1 else "") if links else "no"
    lines = [
        f"laboratory: {len(laboratory.hosts)} hosts in network namespaces without names; links of {spread} Mbit/s, "
        f"each direction shaped with tc tbf; TCP {laboratory.congestion_control}"
    ]
    stated = max((data["latency"] for _, _, data in laboratory.graph.edges(data=True)), default=0.0)
    if laboratory.latency_by:
        lines.append(f"latency: by netem, beside {time_text(round_trip)} that a packet takes there and back anyway")
    else:
        instead = f"the scenario's {time_text(stated)} a link is not made" if stated else "none was asked for"
        lines.append(
            f"latency: this kernel has no netem (it was tried first): {instead}; a packet takes "
            f"{time_text(round_trip)} there and back, and the simulation takes that"
        )
    return lines


def _run(laboratory: Laboratory, asked: Asked, place: Path) -> None:
    command = [
        sys.executable, "-m", "simgmc.distributed", asked.scenario, "--out", str(place), "--pace", "scenario",
        "--device", "cpu", "--backend", "gloo", "--threads", "1", "--no-plots", *asked.options,
        *(["--overwrite"] if asked.overwrite else []),
    ]  # fmt: skip
    laboratory.run_or_raise(command, asked.limit)


def _table(found: Sequence[Twin]) -> TextTable:
    header = ("method", "rounds", "message", "a round", "simulated", "error", "median", "90 %",
              "an exchange", "simulated", "median")  # fmt: skip
    rows = tuple((one.method, str(len(one.rounds)), *_cells(one)) for one in found)
    return TextTable("measured and simulated", header, rows, names=1)


def _cells(one: Twin) -> list[str]:
    rounds, exchanges = one.rounds, one.exchanges
    totals = [sum(getattr(row, key) for row in rows) / max(1, len(rows)) for rows in (rounds, exchanges)
              for key in ("measured", "simulated")]  # fmt: skip
    errors, apart = one.errors(), one.errors(exchanges=True)
    return [
        bytes_text(max((row.nbytes for row in rounds), default=0)),
        time_text(totals[0]),
        time_text(totals[1]),
        f"{totals[1] / totals[0] - 1:+.1%}",
        percent_text(float(np.median(errors))),
        percent_text(float(np.quantile(errors, 0.9))),
        *((time_text(totals[2]), time_text(totals[3]), percent_text(float(np.median(apart)))) if exchanges else "---"),
    ]


def _bytes_table(found: Sequence[Twin]) -> TextTable:
    rows = []
    for one in found:
        if one.traffic:
            terms = [sum(getattr(row.overhead, term) for row in one.traffic) for term in OVERHEADS]
            sums = (sum(getattr(row, name) for row in one.traffic) for name in ("simulated", "expected", "counted"))
            payload, expected, counted = map(bytes_text, sums)
            rows.append((one.method, payload, *map(bytes_text, terms), expected, counted, f"{one.traffic_error:+.1%}"))
    header = ("method", "payload", "+ lengths told", "+ Gloo's preambles and notices", "+ headers",
              "+ acknowledgements", "expected", "counted", "error")  # fmt: skip
    heading = "bytes that left the interfaces: what is simulated, what the protocols add, and what was counted"
    return TextTable(heading, header, tuple(rows), names=1)


def _said_of_network(laboratory: Laboratory) -> str:
    """Whether the network has carried everything once, as a simulated one does."""
    shaped, again = laboratory.shaped(), laboratory.sent_again()
    sent = f"TCP sent {sum(again.values()):,} segments again"
    if lost := dropped(shaped):
        return (
            f"WARNING: shapers dropped packets, which no simulated link does: {lost}; {sent}: what was measured is of "
            "another network than what is simulated"
        )
    return f"shapers dropped none of {sum(one.packets for one in shaped):,} packets; {sent}"


def _said(found: Sequence[Twin]) -> list[str]:
    lines = ["median, 90 %: of the absolute errors of the rounds one by one"]
    works = {(one.compression, one.aggregation) for one in found}
    lines.append(
        "measured and given to the simulation: compressing "
        + ", ".join(f"{time_text(a)}, decoding and adding {time_text(b)}" for a, b in sorted(works))
    )
    return lines


def _write(out: Path, found: Sequence[Twin]) -> None:
    columns = (*Compared.__dataclass_fields__, "error")
    times = [
        (one.method, one.seed, *(getattr(row, key) for key in columns))
        for one in found
        for row in (*one.rounds, *one.exchanges)
    ]
    sizes = [
        (one.method, one.seed, row.host, row.simulated, *(getattr(row.overhead, term) for term in OVERHEADS),
         row.expected, row.counted, row.error)
        for one in found
        for row in one.traffic
    ]  # fmt: skip
    bytes_columns = ("host", "simulated", *OVERHEADS, "expected", "counted", "error")
    for name, head, rows in (("twin.csv", columns, times), ("twin_bytes.csv", bytes_columns, sizes)):
        try:
            with (out / name).open("w", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerows([("method", "seed", *head), *rows])
        except OSError as error:
            raise SimgmcError(f"{out / name}: cannot be written: {reason(error)}") from None
