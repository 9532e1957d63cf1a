"""Runs made of formulas, to test summaries and plots on numbers that are known."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from simgmc.core.transport import Transport
from simgmc.results.directory.records import Breakdown, Evaluation, SeriesKey
from simgmc.results.directory.run_directory import RunDirectory, create


def accuracy_curve(best: float, speed: float, start: float = 0.1) -> Callable[[float], float]:
    """Accuracy rising from ``start`` to ``best`` as epochs pass."""
    return lambda epoch: best - (best - start) * math.exp(-speed * epoch)


def write_run(
    path: Path,
    methods: Mapping[str, Callable[[float], float]],
    *,
    round_s: Callable[[str, Mapping[str, str], int], float] = lambda method, point, seed: 1.0,
    round_bytes: Mapping[str, int] | None = None,
    points: Sequence[Mapping[str, str]] = ({"cluster.collective": "ring"},),
    seeds: Sequence[int] = (0, 1, 2),
    evaluations: int = 20,
    rounds: int = 10,
    loss_only: bool = False,
    finish: bool = True,
) -> RunDirectory:
    """A run of ``evaluations`` evaluations after the one at round 0, ``rounds`` rounds apart, one per epoch."""
    directory = create(path, "# synthetic\n", grid_keys=tuple(points[0]))
    for point in points:
        for method, curve in methods.items():
            nbytes = (round_bytes or {}).get(method, 1000)
            for seed in seeds:
                key = SeriesKey(method, Transport.read(point["cluster.collective"]), seed, point)
                step = round_s(method, point, seed)
                rcc = nbytes / max((round_bytes or {"": 1000}).values())
                for epoch in range(evaluations + 1):
                    wiggle = 0.01 * math.sin(7 * seed + 3 * epoch) * min(epoch, 1)
                    value = curve(epoch) + (wiggle if len(seeds) > 1 else 0)
                    done = epoch * rounds
                    directory.evaluated(
                        key,
                        Evaluation(
                            round=done,
                            epoch=float(epoch),
                            sim_time_s=done * step,
                            train_loss=None if epoch == 0 else 1 / (1 + epoch),
                            test_loss=2.3 * (1 - value) + 1e-3,
                            test_accuracy=None if loss_only else value,
                            bytes_up=8 * done * nbytes,
                            bytes_down=8 * done * nbytes,
                            rcc=None if epoch == 0 else rcc,
                        ),
                    )
                total = evaluations * rounds
                if finish:
                    directory.finish(
                        key, breakdown(total, total * step, 8 * total * nbytes, point["cluster.collective"], rcc)
                    )
    return directory


def breakdown(rounds: int, sim_time_s: float, sent: int, collective: str, rcc: float = 1.0) -> Breakdown:
    """A tenth of the time computing, the rest mostly transfer."""
    parts = {"compute": 0.1, "compress": 0.01, "transfer": 0.7, "latency": 0.05, "aggregate": 0.04, "wait": 0.1}
    server = sent if collective == "parameter_server" else 0
    return Breakdown(
        rounds=rounds,
        sim_time_s=sim_time_s,
        **{f"{part}_s": share * sim_time_s for part, share in parts.items()},
        bytes_sent_by_workers=sent,
        bytes_received_by_workers=sent,
        bytes_into_server=server,
        bytes_out_of_server=server,
        rcc=rcc,
    )
