"""Problems that a scenario can name instead of a data set and a model: their optimum is known.

Plain Python and numpy; what trains them (torch) is loaded when it is built.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simgmc.errors import SimgmcError
from simgmc.training import quadratic
from simgmc.training.datasets import DATASETS, Dataset
from simgmc.training.partitions import PARTITIONS, partition
from simgmc.training.quadratic import Quadratics
from simgmc.training.registry import Entry, Option, lookup


@dataclass(frozen=True)
class Problem(Entry):
    """A registered problem. ``options`` in its methods are those that :meth:`resolve` returned."""

    metrics: tuple[str, ...] = ()
    """What a run of it can be measured by."""

    def check(self, options: Mapping[str, Any], workers: int) -> None:
        """Raises SimgmcError where the options do not fit each other or this many workers."""

    def datasets(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        """The data sets that it reads."""
        return ()

    def describe(self, options: Mapping[str, Any]) -> str:
        """A few words, for the header of a run."""
        return self.name

    def surface(self, options: Mapping[str, Any]) -> Quadratics | None:
        """The objective, where it can be drawn as a map: of two parameters."""
        return None

    def build(self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]) -> Any:
        """The workload; ``load`` reads a data set by name."""
        raise TypeError(f"{self.name} cannot be built")


@dataclass(frozen=True)
class QuadraticProblem(Problem):
    """Quadratics, one per worker."""

    numbers: Callable[..., Quadratics] = quadratic.from_numbers

    def check(self, options: Mapping[str, Any], workers: int) -> None:
        problem = self.numbers(**options)
        if workers != problem.workers:
            raise SimgmcError(f"{self.name} has {problem.workers} quadratics, one per worker: workers must be {problem.workers}")

    def describe(self, options: Mapping[str, Any]) -> str:
        return " ".join([self.name, *(str(options[key]) for key in ("variant",) if key in options)])

    def surface(self, options: Mapping[str, Any]) -> Quadratics | None:
        problem = self.numbers(**options)
        return problem if problem.d == 2 else None

    def build(self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]) -> Any:
        from simgmc.training.quadratic_workload import QuadraticWorkload

        return QuadraticWorkload(self.numbers(**options), seed, device)


@dataclass(frozen=True)
class LogisticProblem(Problem):
    """Binary logistic regression on a data set of two classes."""

    def resolve(self, given: Mapping[str, Any]) -> dict[str, Any]:
        resolved = super().resolve(given)
        name, options = _named(resolved["partition"])
        return resolved | {"partition": {"name": name, **PARTITIONS[name].resolve(options)}}

    def check(self, options: Mapping[str, Any], workers: int) -> None:
        samples = DATASETS[options["dataset"]].train
        if workers * options["batch_per_worker"] > samples:
            raise SimgmcError(
                f"{self.name}: batch_per_worker = {options['batch_per_worker']}: {workers} workers would need more than the {samples} "
                f"training samples of {options['dataset']}; at most {samples // workers} per worker"
            )

    def datasets(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return (options["dataset"],)

    def describe(self, options: Mapping[str, Any]) -> str:
        return f"{self.name} on {options['dataset']}, {options['partition']['name']}, batch {options['batch_per_worker']}"

    def build(self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]) -> Any:
        import torch

        from simgmc.training.convex import LogisticWorkload

        data = load(options["dataset"])
        name, partition_options = _named(options["partition"])
        return LogisticWorkload(
            data,
            partition(name, data.train_labels, workers, seed, **partition_options),
            regularisation=options["regularisation"],
            batch=options["batch_per_worker"],
            seed=seed,
            device=device,
            dtype=getattr(torch, options["precision"]),
        )


class Numbers(Option):
    """An option that holds finite numbers in lists, nested as often as one of ``depths``."""

    depths: tuple[int, ...] = (1,)
    words = "a list of numbers"

    def problem(self, value: Any) -> str | None:
        return None if any(_nested(value, depth) for depth in self.depths) else self.words


class Vectors(Numbers):
    """One vector per worker."""

    depths = (2,)
    words = "a list of lists of numbers, one per worker"


class Matrices(Numbers):
    """One matrix per worker, each whole or as its diagonal."""

    words = "a list with an entry per worker, each a list of numbers (the diagonal) or a list of rows"

    def problem(self, value: Any) -> str | None:
        each = isinstance(value, (list, tuple)) and value and all(_nested(one, 1) or _nested(one, 2) for one in value)
        return None if each else self.words


class PartitionOption(Option):
    """An option that names a partition, as ``workload.partition`` does."""

    def problem(self, value: Any) -> str | None:
        try:
            name, options = _named(value)
            entry = lookup("partition", name, PARTITIONS)
            entry.resolve(options)
            if not entry.equal:
                equal = [one.name for one in PARTITIONS.values() if one.equal]
                return f"a partition into equal sizes, as its optimum is that of the workers' mean: {', '.join(equal)}"
        except SimgmcError as error:
            return f"a partition: {error}"
        return None


def _nested(value: Any, depth: int) -> bool:
    if depth == 0:
        try:
            return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
        except OverflowError:
            return False
    return isinstance(value, (list, tuple)) and len(value) > 0 and all(_nested(one, depth - 1) for one in value)


def _named(value: Any) -> tuple[str, dict[str, Any]]:
    """``"iid"`` or ``{ name = "dirichlet", alpha = 0.1 }`` as a name and options."""
    if isinstance(value, str):
        return value, {}
    if not isinstance(value, Mapping) or not isinstance(value.get("name"), str):
        raise SimgmcError(f'give a name, or a table {{ name = "...", ... }}; known: {", ".join(PARTITIONS)}')
    return value["name"], {key: one for key, one in value.items() if key != "name"}


_NOISE = Option("standard deviation of Gaussian noise on every coordinate of a gradient", float, 0.0, minimum=0)
_BINARY = tuple(name for name, entry in DATASETS.items() if entry.classes == 2)

PROBLEMS: dict[str, Problem] = {
    entry.name: entry
    for entry in (
        QuadraticProblem(
            "quadratic",
            "F_k(w) = 1/2 (w - c_k)' A_k (w - c_k), one per worker, given by numbers",
            "standard",
            {
                "matrices": Matrices("A_k of every worker: d numbers (the diagonal) or d rows of d", list),
                "minimisers": Vectors("c_k of every worker, d numbers each", list),
                "start": Numbers("where training starts, d numbers", list),
                "noise": _NOISE,
            },
            metrics=("distance", "gap", "loss"),
        ),
        QuadraticProblem(
            "gmc-toy",
            "two workers' quadratics that reproduce Figures 1 and 2 of the GMC paper, in any dimension",
            "Zhao et al., GMC paper, Figures 1 and 2; its formulas reconstructed",
            {
                "variant": Option("A: |w - c|^2 and |w + c|^2, c_i = i/d; B: curvatures 1 and 10 in turn", str, choices=("A", "B")),
                "d": Option("number of parameters", int),
                "noise": _NOISE,
            },
            metrics=("distance", "gap", "loss"),
            numbers=quadratic.gmc_toy,
        ),
        LogisticProblem(
            "logistic-regression",
            "binary logistic regression with l2 regularisation, from zero; the optimum found beforehand",
            "standard",
            {
                "dataset": Option("two classes, from a LIBSVM file", str, choices=_BINARY),
                "regularisation": Option("factor of |w|^2 / 2 in the objective", float, 1e-4, minimum=0, above=True),
                "partition": PartitionOption("who holds which samples", str, "iid"),
                "batch_per_worker": Option("samples of one worker's gradient", int),
                "precision": Option("of parameters and gradients", str, "float64", ("float64", "float32")),
            },
            metrics=("gap", "distance", "accuracy", "loss"),
        ),
    )
}
