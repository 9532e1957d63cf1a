"""Problems that a scenario can name instead of a data set and a model: their optimum is known.

Plain Python and numpy; what trains them (torch) is loaded when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Entry, Numbers, Option, Part, Registry, nested
from simgmc.workloads.data.catalogue import DATASETS
from simgmc.workloads.data.dataset import Dataset
from simgmc.workloads.partitions.catalogue import PARTITIONS, partition
from simgmc.workloads.problems import quadratic
from simgmc.workloads.problems.quadratic import Quadratics
from simgmc.workloads.workload import Workload


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

    def build(
        self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]
    ) -> Workload:
        """The workload; ``load`` reads a data set by name."""
        raise TypeError(f"{self.name} cannot be built")


@dataclass(frozen=True)
class QuadraticProblem(Problem):
    """Quadratics, one per worker."""

    numbers: Callable[..., Quadratics] = quadratic.from_numbers

    def check(self, options: Mapping[str, Any], workers: int) -> None:
        problem = self.numbers(**options)
        if workers != problem.workers:
            raise SimgmcError(
                f"{self.name} has {problem.workers} quadratics, one per worker: workers must be {problem.workers}"
            )

    def describe(self, options: Mapping[str, Any]) -> str:
        return " ".join([self.name, *(str(options[key]) for key in ("variant",) if key in options)])

    def surface(self, options: Mapping[str, Any]) -> Quadratics | None:
        problem = self.numbers(**options)
        return problem if problem.d == 2 else None

    def build(
        self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]
    ) -> Workload:
        from simgmc.workloads.problems.quadratic_workload import QuadraticWorkload  # loads torch

        return QuadraticWorkload(self.numbers(**options), seed, device)


@dataclass(frozen=True)
class LogisticProblem(Problem):
    """Binary logistic regression on a data set of two classes."""

    def check(self, options: Mapping[str, Any], workers: int) -> None:
        samples = DATASETS[options["dataset"]].train
        if workers * options["batch_per_worker"] > samples:
            raise SimgmcError(
                f"{self.name}: batch_per_worker = {options['batch_per_worker']}: {workers} workers would need more "
                f"than the {samples} training samples of {options['dataset']}; at most {samples // workers} per worker"
            )

    def datasets(self, options: Mapping[str, Any]) -> tuple[str, ...]:
        return (options["dataset"],)

    def describe(self, options: Mapping[str, Any]) -> str:
        return (
            f"{self.name} on {options['dataset']}, {options['partition']['name']}, batch {options['batch_per_worker']}"
        )

    def build(
        self, options: Mapping[str, Any], workers: int, seed: int, device: str, load: Callable[[str], Dataset]
    ) -> Workload:
        # Scenarios are checked without torch.
        import torch

        from simgmc.workloads.problems.convex import LogisticWorkload

        data = load(options["dataset"])
        return LogisticWorkload(
            data,
            partition(labels=data.train_labels, workers=workers, seed=seed, **options["partition"]),
            regularisation=options["regularisation"],
            batch=options["batch_per_worker"],
            seed=seed,
            device=device,
            dtype=getattr(torch, options["precision"]),
        )


@dataclass(frozen=True)
class Matrices(Numbers):
    """One matrix per worker, each whole or as its diagonal."""

    shape: str = "a list with an entry per worker, each a list of numbers (the diagonal) or a list of rows"

    def accepts(self, value: Any) -> bool:
        """Whether each is one of the two."""
        return (
            isinstance(value, (list, tuple)) and bool(value) and all(nested(one, 1) or nested(one, 2) for one in value)
        )


_NOISE = Option("standard deviation of Gaussian noise on every coordinate of a gradient", float, 0.0, at_least=0)
_BINARY = tuple(name for name, entry in DATASETS.items() if entry.classes == 2)

_EQUAL = Registry("partition into equal sizes", filter(None, [entry.of_equal_sizes() for entry in PARTITIONS.values()]))

PROBLEMS: Registry[Problem] = Registry(
    "problem",
    (
        QuadraticProblem(
            "quadratic",
            "F_k(w) = 1/2 (w - c_k)' A_k (w - c_k), one per worker, given by numbers",
            "standard",
            {
                "matrices": Matrices("A_k of every worker: d numbers (the diagonal) or d rows of d"),
                "minimisers": Numbers(
                    "c_k of every worker, d numbers each", depth=2, shape="a list of lists of numbers, one per worker"
                ),
                "start": Numbers("where training starts, d numbers"),
                "noise": _NOISE,
            },
            metrics=("distance", "gap", "loss"),
        ),
        QuadraticProblem(
            "gmc-toy",
            "two workers' quadratics that reproduce Figures 1 and 2 of the GMC paper, in any dimension",
            "Zhao et al., GMC paper, Figures 1 and 2; its formulas reconstructed",
            {
                "variant": Option(
                    "A: |w - c|^2 and |w + c|^2, c_i = i/d; B: curvatures 1 and 10 in turn", str, choices=("A", "B")
                ),
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
                "regularisation": Option("factor of |w|^2 / 2 in the objective", float, 1e-4, above=0),
                "partition": Part(
                    "who holds which samples, equally many each: its optimum is that of the workers' mean",
                    default="iid",
                    entries=_EQUAL,
                ),
                "batch_per_worker": Option("samples of one worker's gradient", int),
                "precision": Option("of parameters and gradients", str, "float64", ("float64", "float32")),
            },
            metrics=("gap", "distance", "accuracy", "loss"),
        ),
    ),
    listed="problems",
)
