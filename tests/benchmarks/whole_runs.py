"""What whole runs take that train little and simulate many workers: seconds, and memory against the prediction.

    python tests/benchmarks/whole_runs.py [--sizes 8 1024 4096 10000] [--version NAME --source FOLDER]
                                          [--out analysis/results/whole_runs]

Each is ``simgmc run`` in a process of its own, from the start to the report, on one thread: Gaussian classes with 64
features, a perceptron of 2,410 parameters, four samples a worker, DMSGD, equal workers on one switch, over a server and
round a ring; five rounds, of 10,000 workers three, each evaluated. CPU seconds, which grow too where the machine is
busy with other work; the largest resident set. Found rows go into OUT.csv in place of older ones of the same run; the
table (OUT.md) and the figure (OUT.png) show all that is there.
``--source``: a checkout of another version, with ``--version`` as its name.
"""

from __future__ import annotations

import argparse
import csv
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SCENARIO = """
name = "whole_run"
seeds = [1]

[workload]
dataset = {{ name = "synthetic", features = 64, train = 40_000 }}
model = {{ name = "mlp", hidden = [32] }}
workers = {workers}
batch_per_worker = 4
rounds = {rounds}
evaluate_every = "1 rounds"

[optimizer]
learning_rate = 0.01

[cluster]
topology = "star"
bandwidth = "1 Gbit/s"
latency = "1 ms"
collective = "{collective}"
compute = {{ gradient = "1 ms", compression = "1 ms", aggregation = "1 ms" }}

[[methods]]
algorithm = "dmsgd"

[report]
baseline = "dmsgd"
"""
COLLECTIVES = ("parameter-server", "ring")
NOW, BEFORE = "now", "994be31"
COLUMNS = ("version", "workers", "rounds", "collective", "cpu_s", "peak_mb", "predicted_mb", "note")
Key = tuple[str, int, str]
_PREDICTED = re.compile(r"^memory\s+about ([\d.,]+) (kB|MB|GB)", re.MULTILINE)
_MEGABYTES = {"kB": 1e-3, "MB": 1.0, "GB": 1e3}


def rounds_of(workers: int) -> int:
    """How many rounds a run of so many workers has."""
    return 3 if workers >= 10_000 else 5


def measure(workers: int, collective: str, source: Path) -> tuple[float, float, float]:
    """CPU seconds, and MB at the worst moment: measured and predicted."""
    content = SCENARIO.format(workers=workers, rounds=rounds_of(workers), collective=collective)
    environment = {**os.environ, "PYTHONPATH": str(source.resolve()), "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "whole.toml").write_text(content)
        started = subprocess.Popen(
            [sys.executable, "-m", "simgmc", "run", "whole.toml", "--out", "out", "--threads", "1"],
            cwd=folder, env=environment, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert started.stdout is not None
        said = started.stdout.read()
        _, status, used = os.wait4(started.pid, 0)
    if status:
        raise SystemExit(f"{workers} workers, {collective}: ended with status {status}:\n{said}")
    predicted = _PREDICTED.search(said)
    assert predicted is not None
    megabytes = float(predicted[1].replace(",", "")) * _MEGABYTES[predicted[2]]
    return used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6, megabytes


def read(path: Path) -> dict[Key, dict[str, str]]:
    """The rows that are there, by version, workers and collective."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {(row["version"], int(row["workers"]), row["collective"]): row for row in csv.DictReader(file)}


def write(path: Path, rows: dict[Key, dict[str, str]]) -> None:
    """All rows, in order."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[key] for key in sorted(rows))


def table(rows: dict[Key, dict[str, str]]) -> list[str]:
    """A line for each run, both versions beside each other."""
    head = (
        f"| workers x rounds | collective | CPU at {BEFORE}, s | CPU, s | peak at {BEFORE}, MB | predicted, MB "
        "| peak, MB | predicted, MB | predicted / peak |"
    )
    lines = [head, "| --- | --- |" + " ---: |" * 7]
    notes = list(dict.fromkeys(rows[key]["note"] for key in sorted(rows) if rows[key]["note"]))
    for workers, collective in sorted({key[1:] for key in rows}):
        before, now = (rows.get((version, workers, collective)) for version in (BEFORE, NOW))

        def cell(row: dict[str, str] | None, column: str) -> str:
            if not row or not row[column]:
                return "-"
            return f"{float(row[column]):,.{1 if column == 'cpu_s' else 0}f}" + (
                f" ({notes.index(row['note']) + 1})" if row["note"] else ""
            )

        ratio = f"{float(now['predicted_mb']) / float(now['peak_mb']):.3f}" if now else "-"
        cells = [cell(before, "cpu_s"), cell(now, "cpu_s"), cell(before, "peak_mb"), cell(before, "predicted_mb")]
        cells += [cell(now, "peak_mb"), cell(now, "predicted_mb"), ratio]
        lines.append(f"| {workers:,} x {rounds_of(workers)} | {collective} | " + " | ".join(cells) + " |")
    return [*lines, *(line for number, note in enumerate(notes, 1) for line in ("", f"({number}) {note}"))]


def draw(rows: dict[Key, dict[str, str]], path: Path) -> None:
    """Seconds, and memory with its prediction, over the number of workers."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(8.4, 3.4), layout="constrained")
    for collective, color in zip(COLLECTIVES, ("C0", "C1")):
        for version, style in ((BEFORE, ":"), (NOW, "-")):
            for axis, column in zip(axes, ("cpu_s", "peak_mb")):
                points = [
                    (key[1], float(row[column]))
                    for key, row in sorted(rows.items())
                    if key[0] == version and key[2] == collective and row[column]
                ]
                if points:
                    axis.plot(*zip(*points), style, color=color, marker="o", markersize=3, linewidth=1,
                              label=f"{collective}, {version}")  # fmt: skip
        predicted = [
            (key[1], float(row["predicted_mb"])) for key, row in sorted(rows.items()) if key[::2] == (NOW, collective)
        ]
        axes[1].plot(*zip(*predicted), "x", color=color, markersize=6, label=f"{collective}, predicted")
    for axis, title, unit in zip(axes, ("a whole run", "memory at its worst"), ("CPU seconds", "MB")):
        axis.set(xscale="log", yscale="log", xlabel="workers", ylabel=unit, title=title)
        axis.legend(fontsize=6, frameon=False)
        axis.tick_params(which="both", labelsize=7)
        axis.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=180)


def main() -> None:
    """Every size with every collective, and all that is known in a table and a figure."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[8, 1024, 4096, 10_000])
    parser.add_argument("--collectives", nargs="+", default=list(COLLECTIVES))
    parser.add_argument("--version", default=NOW)
    parser.add_argument("--source", type=Path, default=Path(__file__).parents[2])
    parser.add_argument("--out", type=Path, default=Path("analysis/results/whole_runs"))
    chosen = parser.parse_args()
    data = chosen.out.with_suffix(".csv")
    for workers in chosen.sizes:
        for collective in chosen.collectives:
            load, begun = os.getloadavg()[0], time.monotonic()
            found = [f"{number:.1f}" for number in measure(workers, collective, chosen.source)]
            wall = time.monotonic() - begun
            rows = read(data)
            values = chosen.version, str(workers), str(rounds_of(workers)), collective, *found, ""
            rows[chosen.version, workers, collective] = dict(zip(COLUMNS, values, strict=True))
            write(data, rows)
            print(*values, f"(wall {wall:.1f} s, load {load:.1f} before)", flush=True)
    rows = read(data)
    told = __doc__.split("\n\n", 2)[2].strip()
    command = "    python tests/benchmarks/whole_runs.py"
    lines = ["# Whole runs with many workers", "", command, "", told, "", "The scenario:", ""]
    scenario = SCENARIO.format(workers="WORKERS", rounds="ROUNDS", collective="COLLECTIVE").strip().splitlines()
    lines += ["```toml", *scenario, "```", "", *table(rows), ""]
    chosen.out.with_suffix(".md").write_text("\n".join(lines))
    draw(rows, chosen.out.with_suffix(".png"))


if __name__ == "__main__":
    main()
