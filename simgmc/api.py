"""simgmc from Python: run a scenario, read what a run found, put it on other networks, compare runs.

>>> run = simgmc.run("scenarios/quickstart.toml", out="runs/quickstart")
>>> run.summary  # a DataFrame
>>> slow = simgmc.replay(run, set={"cluster.bandwidth": "1 Mbit/s"}, out="runs/slow")
>>> simgmc.compare([run, slow]).summary
>>> simgmc.plot.accuracy_vs_time(slow)

Torch loads with :func:`run` and :meth:`Run.model` alone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from simgmc.core.own_code.code import announced_to
from simgmc.core.terminal import plain_console
from simgmc.experiment.reading import Comparison, Frame, Run

if TYPE_CHECKING:  # torch takes seconds to load
    from torch import nn
    from torch.utils.data import Dataset as TorchDataset

    from simgmc.workloads.losses.functions import LossFunction

    Model = nn.Module | Callable[[], nn.Module]

Numbers = float | Sequence[float]

__all__ = ["Comparison", "Run", "compare", "load", "map", "replay", "run", "utilisation"]


def run(
    scenario: str | Path | Mapping[str, Any],
    *,
    out: str | Path,
    train: TorchDataset | None = None,
    test: TorchDataset | None = None,
    model: Model | None = None,
    loss: LossFunction | None = None,
    collate: Callable[[list[Any]], Any] | None = None,
    mean: Numbers | None = None,
    std: Numbers | None = None,
    settings: Mapping[str, Any] | None = None,
    quiet: bool = False,
    plots: bool = True,
    **options: Any,
) -> Run:
    """Run a scenario, as ``simgmc run`` does, with data sets or a model of one's own.

    Args:
        scenario: a TOML file, or its content as a dict.
        out: the run directory.
        train, test: any ``torch.utils.data.Dataset`` of (values, target) pairs, in the place of
            ``workload.dataset``. Every sample is read once.
        model: a function that makes the module, called anew for each seed with torch's generator seeded;
            or a module, which starts from its present parameters for every seed. In the place of
            ``workload.model``.
        loss: a function (output, target) -> mean over the batch, in the place of ``workload.loss``.
        collate: makes a list of samples a batch, as the ``collate_fn`` of torch's ``DataLoader``; samples of unequal
            shapes need one. Samples may also be tuples or dicts of several inputs: ``model(*inputs)``,
            ``model(**inputs)``.
        mean, std: of the given data: the model sees ``(value - mean) / std``; values as they are if None.
        settings: keys of the scenario to change, as ``--set`` does; None takes a key out.
        quiet: print nothing.
        plots: draw into ``plots/``, which takes seconds; :mod:`simgmc.plot` draws what is asked for.
        options: ``log`` ("tensorboard" or "wandb", or a list of them), ``device``, ``data_dir``, ``threads``,
            ``jobs``, ``overwrite``, ``resume`` and so on, see :func:`simgmc.experiment.run.run`.

    Returns:
        The run: its tables as frames, its models; and its directory, where ``metrics.csv``, ``summary.csv`` and
        ``plots/`` are (``run / "summary.csv"`` is a path).

    Raises:
        SimgmcError: anything in the scenario, the data or the model that is not right.
    """
    from simgmc.experiment.header import line  # loads the whole network
    from simgmc.experiment.in_python.given import run_given  # loads torch

    console = _console(quiet)
    with announced_to(lambda code: line(console, "code", str(code))):
        path = run_given(
            scenario, out=out, train=train, test=test, model=model, loss=loss, collate=collate, mean=mean, std=std,
            settings=settings, console=console, plots=plots, **options,
        )  # fmt: skip
    return Run(path)


def replay(
    run: str | Path | Run,
    *,
    set: Mapping[str, Any] | None = None,
    grid: Mapping[str, Sequence[Any]] | None = None,
    cluster: str | Path | None = None,
    out: str | Path | None = None,
    overwrite: bool = False,
    quiet: bool = False,
    plots: bool = True,
) -> Run:
    """Put a finished run on another network, as ``simgmc replay`` does: nothing is trained.

    Args:
        run: a run directory.
        set: keys of ``cluster`` and ``report`` and their values, such as ``{"cluster.bandwidth": "10 Mbit/s"}``;
            None takes a key out, so that it is as by default.
        grid: keys of ``cluster`` and lists of values, every combination of which is replayed, such as
            ``{"cluster.bandwidth": ["1 Mbit/s", "100 Mbit/s"], "cluster.latency": ["1 ms", "50 ms"]}``.
        cluster: a TOML file whose ``[cluster]`` table replaces the run's.
        out: the new run directory; beside the run, its name with ``-replay``, unless given.
        overwrite: replace another run that is there.
        quiet: print nothing.
        plots: draw into ``plots/``.

    Returns:
        The new run.

    Raises:
        SimgmcError: a key that would change what is computed, or a method whose training the clock drives.
    """
    from simgmc.commands.replay import replay as replay_run  # loads the whole network

    settings = [*(set or {}).items(), *((f"grid.{key}", list(values)) for key, values in (grid or {}).items())]
    path = replay_run(
        Path(os.fspath(run)), settings=settings, cluster=cluster, out=out, overwrite=overwrite,
        console=_console(quiet), plots=plots,
    )  # fmt: skip
    return Run(path)


def load(run: str | Path | Run, *, backend: str | None = None) -> Run:
    """A run directory's content, see :class:`Run`.

    Args:
        run: the run directory; it may still be written, and then has what is there by now.
        backend: "pandas" or "polars" makes the frames; unless given pandas where it is installed, else polars.

    Raises:
        SimgmcError: it holds no run.

    Example:
        >>> run = simgmc.load("runs/quickstart")
        >>> run.summary[["method", "time_to_target_mean_s", "speedup"]]
    """
    return Run(run, backend=backend)


def compare(
    runs: Sequence[str | Path | Run] | Mapping[str, str | Path | Run],
    *,
    target: float | None = None,
    baseline: str | None = None,
    backend: str | None = None,
) -> Comparison:
    """Several runs side by side: one frame, one figure (:mod:`simgmc.plot` takes it), one table.

    Args:
        runs: run directories; their names are the folders', or the keys of a dict.
        target: the value to reach of what the runs are measured by; the scenarios' own unless given.
        baseline: the method that speed-ups compare with, within each run; the scenarios' own unless given.
        backend: as of :func:`load`.

    Raises:
        SimgmcError: runs that are not measured by the same, or not on the same data or problem, or not against the
            same target where none is given; the key that differs is named.

    Example:
        >>> both = simgmc.compare({"lab": "runs/quickstart", "WAN": "runs/quickstart-replay"})
        >>> both.summary[["run", "method", "cluster_latency_s", "time_to_target_mean_s"]]
    """
    return Comparison(runs, target=target, baseline=baseline, backend=backend)


def map(run: str | Path | Run, *, out: str | Path | None = None) -> Path:
    """The page on which a run's networks are walked about in, as ``simgmc map``: sliders, curves and the verdict.

    Args:
        run: a run directory. Over a grid with numeric keys of the cluster it is of that grid; any other is put on a
            grid around its network first, by replays in memory.
        out: the file; ``map.html`` in the run directory unless given.

    Returns:
        The page's path; it is one file, and needs no network.

    Raises:
        SimgmcError: a run that holds no finished series, or whose methods another network trains otherwise.

    Example:
        >>> simgmc.map("runs/quickstart")
    """
    from simgmc.commands.map import map_networks  # loads the whole network

    return map_networks(Path(os.fspath(run)), out)


def utilisation(
    run: str | Path | Run, *, at: Mapping[str, Any] | None = None, backend: str | None = None, curve: bool = False
) -> Frame:
    """How much of their time workers compute, and the bandwidth that 50 to 99 % of it needs, as ``simgmc utilisation``;
    nothing is written or printed.

    Args:
        run: a run directory.
        at: keys of its grid and values: only networks that have these.
        backend: as of :func:`load`.
        curve: the utilisation at every bandwidth of the sweep instead.

    Returns:
        A row per method, network and utilisation: ``utilisation`` (0 to 1), ``times_the_bandwidth`` of every link that
        has it and, where the cluster states a bandwidth, ``bandwidth_mbit_s`` (none where no bandwidth has it),
        ``utilisation_now``, and ``utilisation_at_most`` with unlimited bandwidth. Of the curve a row per bandwidth.

    Raises:
        SimgmcError: nothing in it can be put on another network, or it has too many networks.

    Example:
        >>> simgmc.utilisation("runs/quickstart")[["method", "utilisation", "bandwidth_mbit_s"]]
    """
    from simgmc.commands.utilisation import measured  # loads the whole network
    from simgmc.results.frames import backend as made_by
    from simgmc.results.frames import frame
    from simgmc.results.tables.utilisation_table import curve_columns, needed_columns

    found, _, _ = measured(Path(os.fspath(run)), at or {})
    return frame(curve_columns(found) if curve else needed_columns(found), made_by(backend))


def _console(quiet: bool) -> Console:
    return Console(quiet=True) if quiet else plain_console()
