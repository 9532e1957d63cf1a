"""What a twin of asynchronous trainings prints, writes and draws."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from simgmc.core.errors import SimgmcError, reason
from simgmc.core.pictures import write_picture
from simgmc.core.quantities import axis_unit, number, percent_text, time_text
from simgmc.core.terminal import TextTable
from simgmc.distributed.twin.events import EventsTwin, Pair
from simgmc.distributed.twin.picture import COLOURS
from simgmc.results.series.measures import Measure


def events_table(found: Sequence[EventsTwin]) -> TextTable:
    """A row for each training."""
    rows = [
        (
            one.method, *_cells(one.gradients), *_cells(one.messages),
            percent_text(float(np.median(one.errors))) if len(one.errors) else "-", *_staleness(one),
        )
        for one in found
    ]  # fmt: skip
    return TextTable(
        "measured and simulated, of methods without rounds: a second of training, all workers",
        ("method", "gradients", "simulated", "error", "messages", "simulated", "error", "times",
         "staleness", "simulated", "apart"),
        tuple(rows),
        names=1,
    )  # fmt: skip


def _cells(pair: Pair) -> tuple[str, str, str]:
    return number(pair.measured), number(pair.simulated), f"{pair.error:+.1%}"


def _staleness(one: EventsTwin) -> tuple[str, str, str]:
    mean = one.mean_staleness
    return f"{mean.measured:.2f}", f"{mean.simulated:.2f}", percent_text(one.staleness_apart)


def events_said(found: Sequence[EventsTwin]) -> list[str]:
    """Below the table."""
    works = {(one.compression, one.serving) for one in found}
    return [
        "times: median of the absolute errors of the seconds to each evaluation, by as many gradients; staleness: the "
        "mean; apart: the share of gradients (or messages) that had another staleness than simulated",
        "measured and given to the simulation: every gradient, compressing "
        + ", ".join(f"{time_text(a)}, serving a request {time_text(b)}" for a, b in sorted(works)),
    ]


def write_events(path: Path, found: Sequence[EventsTwin]) -> None:
    """Every evaluation and every staleness. Raises SimgmcError where it cannot be written."""
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("method", "seed", "what", "of", "measured", "simulated"))
            for one in found:
                rows: list[tuple[str, float, float, float]] = [
                    ("gradients a second", 0, one.gradients.measured, one.gradients.simulated),
                    ("messages a second", 0, one.messages.measured, one.messages.simulated),
                ]
                rows += [("seconds at gradients", at, pair.measured, pair.simulated) for at, pair in one.evaluations]
                real, simulated = one.staleness
                rows += [
                    (f"{one.stale} of staleness", k, real.get(k, 0), simulated.get(k, 0))
                    for k in sorted({*real, *simulated})
                ]
                writer.writerows((one.method, one.seed, *row) for row in rows)
    except OSError as error:
        raise SimgmcError(f"{path}: cannot be written: {reason(error)}") from None


def draw_events(found: Sequence[EventsTwin], measure: Measure, path: Path) -> None:
    """What was reached when, gradients over time, staleness. Raises SimgmcError where it cannot be written."""
    figure = Figure(figsize=(9.6, 3.2), layout="constrained")
    value, along, stale = figure.subplots(1, 3)
    last = max(float(curve.times[-1]) for one in found for curve in (one.measured, one.simulated))
    scale, unit = axis_unit("time", 0.0, last, log=False)
    for one, colour in zip(found, COLOURS * (1 + len(found) // len(COLOURS))):
        for curve, line, name in ((one.measured, "-", one.method), (one.simulated, "--", None)):
            value.step(curve.times / scale, curve.values, line, where="post", color=colour, linewidth=1.1, label=name)
        at = [gradients for gradients, _ in one.evaluations]
        for key, line in (("measured", "-"), ("simulated", "--")):
            seconds = [getattr(pair, key) / scale for _, pair in one.evaluations]
            along.plot(seconds, at, line, color=colour, linewidth=1.1)
        most = max((k for counts in one.staleness for k in counts), default=0)
        for counts, line in zip(one.staleness, ("-", "--"), strict=True):
            shares = np.cumsum([counts.get(k, 0) for k in range(most + 1)]) / max(1, sum(counts.values()))
            stale.step(range(-1, most + 1), [0.0, *shares], line, where="post", color=colour, linewidth=1.1)
    value.set(xlabel=f"time ({unit})", ylabel=measure.text)
    value.set_title("solid: measured, dashed: simulated", fontsize=8)
    value.legend(fontsize=7, frameon=False)
    along.set(xlabel=f"time ({unit})", ylabel="gradients of each worker", xlim=(0, None), ylim=(0, None))
    along.set_title("at the evaluations", fontsize=8)
    stale.set(xlabel="staleness", ylabel="share with at most this", ylim=(0, 1.03))
    stale.set_title(f"of {' or '.join(dict.fromkeys(one.stale for one in found))}", fontsize=8)
    write_picture(figure, path)
