"""The training half of a scenario: workload, optimizer, methods."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, create_model, model_validator

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.algorithm import Algorithm, CompressorOption
from simgmc.algorithms.optimizers import Optimizer as Rule
from simgmc.algorithms.optimizers.optimizer import OptimizerOption
from simgmc.compression import COMPRESSORS
from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED, ImportPath, Option
from simgmc.scenario.components import Component, Described, PositiveReal, Real, component, option_type, plain
from simgmc.scenario.gossip import Gossip
from simgmc.scenario.optimizer import RULE, ClipAt, ClipNorm, Groups, LearningRate, ScheduleOrKind, WeightDecay, rule_of
from simgmc.scenario.quantities import DurationOrRate, Interval, parse_interval
from simgmc.scenario.tables import Table, mistake
from simgmc.workloads.data.catalogue import DATASETS
from simgmc.workloads.losses.catalogue import LOSSES
from simgmc.workloads.models.catalogue import MODELS, check_model
from simgmc.workloads.partitions.catalogue import PARTITIONS
from simgmc.workloads.problems.catalogue import PROBLEMS, Problem


class Workload(Table):
    """What is trained, by how many workers, for how long: a model on data, or a problem."""

    workers: Annotated[int, Field(ge=1, le=100_000)]
    """How many workers compute gradients."""
    epochs: Annotated[PositiveReal, Field(le=1e6)] | None = None
    """Passes over the training data that every method makes; give this or rounds."""
    rounds: Annotated[int, Field(ge=1, le=10**9)] | None = None
    """Rounds of every method; of asynchronous ones gradients of each worker."""
    evaluate_every: str = "1 epoch"
    """How often models are evaluated: "1 epoch", "50 rounds", or a simulated time such as "10 s"."""
    divergence_factor: Annotated[Real, Field(gt=1)] = 1000.0
    """A loss above this many times the start's (where that is above 0) ends a method's training."""

    @model_validator(mode="after")
    def _length(self) -> Workload:
        if (self.epochs is None) == (self.rounds is None):
            both = "" if self.epochs is None else f"; rounds = {self.rounds} is there too"
            raise mistake(f"give exactly one of epochs and rounds{both}", "epochs", value=self.epochs)
        self.evaluation_interval()
        return self

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it reads."""
        return ()

    @property
    def weighs_unequally(self) -> bool:
        """Whether workers weigh by their samples in averages, of which they have unequally many."""
        return False

    def describe(self, d: int | None = None) -> str:
        """A few words for the header of a run; ``d`` is the number of parameters, where it is known."""
        raise NotImplementedError

    def evaluation_interval(self) -> Interval:
        """How often to evaluate."""
        try:
            return parse_interval(self.evaluate_every)
        except ValueError as error:
            raise mistake(str(error), "evaluate_every", value=self.evaluate_every) from None


_COLLATE = ImportPath("makes samples a batch")


class DataWorkload(Workload):
    """A model trained on a data set."""

    dataset: component(DATASETS)
    """What the model is trained and tested on."""
    model: component(MODELS)
    """What is trained."""
    partition: component(PARTITIONS) = "iid"
    """Who holds which of the training samples."""
    loss: component(LOSSES) = "cross-entropy"
    """What is minimised."""
    collate: Annotated[str, AfterValidator(_COLLATE.read)] | None = None
    """What makes samples of one's own a batch, by import path, as torch's ``DataLoader`` has it: pads, say."""
    augment: bool = False
    """Whether training images are cropped and flipped at random."""
    weights: Literal["samples", "equal"] | None = None
    """What workers weigh in averages; by their samples where the partition's sizes differ, unless stated."""
    batch_per_worker: Annotated[int, Field(ge=1, le=10**9)]
    """Samples of each worker's minibatch."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """Of the products inside a gradient, see :mod:`simgmc.workloads.gradients.precision`."""

    @model_validator(mode="after")
    def _consistent(self) -> DataWorkload:
        """What can be said before the data are read; the rest is said when they are."""
        name, facts = self.dataset.name, DATASETS[self.dataset.name].facts(self.dataset.options)
        if facts.sample_shape is not None:
            try:
                check_model(self.model.name, facts.sample_shape, facts.tokens, **self.model.options)
            except SimgmcError as error:
                raise mistake(f"{error} (dataset {name})", "model", value=self.model.name) from None
            if self.augment and len(facts.sample_shape) != 3:
                raise mistake(
                    f"crops and flips need images; samples of {name} have shape {facts.sample_shape}",
                    "augment",
                    value=True,
                )
        if self.collate is not None and name not in ("import", "given"):
            raise mistake(
                f'goes with samples of your own (dataset = {{ name = "import", ... }}), not those of {name}',
                "collate",
                value=self.collate,
            )
        if facts.tokens and PARTITIONS[self.partition.name].by_label:
            raise mistake(
                f"goes by labels, and samples of {name} have one for every character; give iid or contiguous",
                "partition",
                value=self.partition.name,
            )
        if facts.train is not None and self.workers * self.batch_per_worker > facts.train:
            raise mistake(
                f"{self.workers} workers x {self.batch_per_worker} samples are more than the {facts.train} "
                f"training samples of {name}; at most {facts.train // self.workers} per worker",
                "batch_per_worker",
                value=self.batch_per_worker,
            )
        runs = self.partition.options.get("shards_per_worker")
        if facts.train is not None and runs is not None and runs > facts.train // self.workers:
            raise mistake(
                f"must be at most {facts.train // self.workers}, the training samples of {name} that one of "
                f"{self.workers} workers has",
                "partition", "shards_per_worker", value=runs,
            )  # fmt: skip
        return self

    def describe(self, d: int | None = None) -> str:
        """A few words for the header of a run; ``d`` is the number of parameters, where it is known."""
        return (
            f"{self.model.title}{_size(d)} on {self.dataset.title}, {self.partition.name}, {self.workers} "
            f"workers x {self.batch_per_worker}" + (f", {self.loss.title}" if self.loss.name != "cross-entropy" else "")
        )

    @property
    def reading(self) -> dict[str, Any]:
        """What its data are read with."""
        return self.dataset.options if self.collate is None else {**self.dataset.options, "collate": self.collate}

    @property
    def weighs_by_samples(self) -> bool:
        """Whether workers weigh by their samples in averages; where it is not stated, if they hold unequally many."""
        return not self.has_equal_sizes if self.weights is None else self.weights == "samples"

    @property
    def has_equal_sizes(self) -> bool:
        """Whether all workers hold equally many samples."""
        return PARTITIONS[self.partition.name].has_equal_sizes(self.partition.options)

    @property
    def weighs_unequally(self) -> bool:
        return self.weighs_by_samples and not self.has_equal_sizes

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a run can be measured by."""
        return LOSSES[self.loss.name].metrics(self.loss.options)

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it reads."""
        return (self.dataset.name,)


class ProblemWorkload(Workload):
    """A problem whose optimum is known, which brings its own data and starting point."""

    problem: component(PROBLEMS)
    """A problem whose optimum is known, in the place of a data set and a model."""

    @model_validator(mode="after")
    def _fits(self) -> ProblemWorkload:
        try:
            self.entry.check(self.problem.options, self.workers)
        except SimgmcError as error:
            raise mistake(str(error), "problem", value=self.problem.written()) from None
        return self

    def describe(self, d: int | None = None) -> str:
        """A few words for the header of a run; ``d`` is the number of parameters, where it is known."""
        return f"{self.entry.describe(self.problem.options)}{_size(d)}, {self.workers} workers"

    @property
    def entry(self) -> Problem:
        """The registered problem."""
        return PROBLEMS[self.problem.name]

    @property
    def metrics(self) -> tuple[str, ...]:
        """What a run can be measured by."""
        return self.entry.metrics

    @property
    def datasets(self) -> tuple[str, ...]:
        """The data sets that it reads."""
        return self.entry.datasets(self.problem.options)


def _size(d: int | None) -> str:
    return "" if d is None else f" ({d:,} parameters)"


def workload_table(value: Any) -> Any:
    """The table's kind, by whether it names a problem."""
    if isinstance(value, Workload) or not isinstance(value, dict):
        return value
    if "problem" not in value:
        return DataWorkload.model_validate(value)
    own = [key for key in DataWorkload.model_fields if key not in Workload.model_fields and key in value]
    if own:
        raise mistake(
            "a problem brings its own data and model; give problem, or dataset, model and batch_per_worker, not both",
            own[0],
            value=value[own[0]],
        )
    return ProblemWorkload.model_validate(value)


COMPRESSOR = component(COMPRESSORS)


class Method(Table):
    """One line of the comparison: an algorithm, its compressor, its parameters."""

    name: Annotated[str, Field(min_length=1, max_length=60), Described()]
    """What tables and figures call it; that of its algorithm unless given."""
    algorithm: Annotated[str, Described(ALGORITHMS)]
    """What it is; the algorithm's own options are keys beside these."""
    learning_rate: LearningRate | None = None
    """The method's own, in place of the optimizer's."""
    weight_decay: WeightDecay | None = None
    """The method's own, in place of the optimizer's."""
    schedule: ScheduleOrKind | None = None
    """The method's own, in place of the optimizer's."""
    optimizer: RULE | None = None
    """The method's own update rule, with its options."""
    clip_norm: ClipNorm | None = None
    """The method's own, in place of the optimizer's."""
    clip_at: ClipAt | None = None
    """The method's own, in place of the optimizer's."""
    groups: Groups | None = None
    """The method's own, in place of the optimizer's."""
    compression_time: DurationOrRate | None = None
    """The method's own time for a message compressed, or rate of the bytes compressed, in place of the cluster's."""
    epoch_multiplier: Annotated[Real, Field(ge=0.001, le=1000)] = 1.0
    """How many times the workload's length the method trains for; the learning rate's schedule is stretched as much."""
    gossip: Gossip | None = None
    """The method's own graph and weights, in place of the scenario's."""

    def rounds(self, workload: Workload) -> int | None:
        """The length of the method's training in rounds, where the workload's is stated in rounds."""
        return workload.rounds and max(1, round(workload.rounds * self.epoch_multiplier))

    def epochs(self, workload: Workload) -> float | None:
        """The length of the method's training in epochs, where the workload's is stated in epochs."""
        return workload.epochs and workload.epochs * self.epoch_multiplier

    def gradients(self, workload: Workload, per_epoch: float, accumulate: int) -> int:
        """Gradients of each worker in the method's training, ``per_epoch`` of them being a pass over the data.

        Where the length is stated in epochs all methods have the same. Where the clock drives the training a
        round is a gradient. ``accumulate`` minibatches are one gradient of the method, and so many here.
        """
        rounds, algorithm = self.rounds(workload), self.built()
        if rounds is None:
            return max(1, round(self.epochs(workload) * per_epoch))
        return accumulate * (rounds if algorithm.asynchronous else algorithm.gradients(rounds, per_epoch / accumulate))

    def gradients_per_round(self, rounds: int, per_epoch: float) -> float:
        """Gradients of each worker in a round, on average over the first ``rounds``; of an asynchronous method one."""
        algorithm = self.built()
        return 1.0 if algorithm.asynchronous else algorithm.gradients(rounds, per_epoch) / rounds

    def parameters(self) -> dict[str, Any]:
        """The algorithm's own parameters (momentum and optimizer are filled in from the optimizer's table)."""
        return {name: getattr(self, name) for name in ALGORITHMS[self.algorithm].options() if name != "optimizer"}

    def compressors(self) -> dict[str, Component]:
        """The compressors among the parameters, by key."""
        return self._named(CompressorOption)

    def rules(self) -> dict[str, Rule]:
        """The optimizers among the parameters, by key."""
        return {name: rule_of(chosen) for name, chosen in self._named(OptimizerOption).items()}

    def _named(self, kind: type[Option]) -> dict[str, Component]:
        options = ALGORITHMS[self.algorithm].options()
        found = {name: value for name, value in self.parameters().items() if isinstance(options[name], kind)}
        return {name: value for name, value in found.items() if value is not None}

    def built(self) -> Algorithm:
        """The algorithm with its parameters; of its compressors only the options are there."""
        parameters = self.parameters()
        if parameters.get("momentum", 0.0) is None:
            del parameters["momentum"]
        for name, chosen in self.compressors().items():
            parameters[name] = chosen.options  # it is built with the training
        return ALGORITHMS[self.algorithm](**(parameters | self.rules()))

    @model_validator(mode="after")
    def _acceptable(self) -> Method:
        """What the algorithm itself has to say of its parameters; names fit on one line of a table."""
        if re.search(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", self.name):
            raise mistake("may hold no control characters, such as line ends or tabs", "name", value=self.name)
        try:
            built = self.built()
        except SimgmcError as error:
            raise ValueError(str(error)) from None
        if built.same_coordinates:
            for key, chosen in self.compressors().items():
                if not COMPRESSORS[chosen.name].summable(chosen.options):
                    raise mistake(
                        f"{self.algorithm} as stated needs compressors that select the same coordinates on all "
                        "workers: rbgs, grbs, random-k with a shared seed",
                        key, value=plain(chosen),
                    )  # fmt: skip
        meets = built.mixing != "none" or (built.asynchronous and not built.centralised)
        if self.gossip is not None and not meets:
            raise mistake(
                f"{self.algorithm} does not mix with neighbours; leave it out", "gossip", value=plain(self.gossip)
            )
        if self.gossip is not None and built.mixing == "none" and self.gossip.weights.name not in ("auto", "stated"):
            raise mistake(
                f"{self.algorithm} reads the graph alone, no weights; leave them out",
                "gossip",
                "weights",
                value=plain(self.gossip.weights),
            )
        return self


@functools.cache
def _build_table(algorithm: type[Algorithm]) -> type[Method]:
    fields: dict[str, Any] = {}
    for name, option in algorithm.options().items():
        if name == "optimizer":
            continue  # a key of every method
        kind = (
            COMPRESSOR if isinstance(option, CompressorOption)
            else RULE if isinstance(option, OptimizerOption)
            else option_type(option)
        )  # fmt: skip
        default = ... if option.default is REQUIRED else option.default
        fields[name] = (kind | None if default is None else kind, default)
    return create_model(f"Method_{algorithm.__name__}", __base__=Method, **fields)


def usual_name(row: Mapping[str, Any]) -> Any:
    """What a method is called that has no name of its own: as its algorithm; for one's own, as the class."""
    algorithm = row.get("algorithm")
    return re.split("[:.]", algorithm)[-1] if isinstance(algorithm, str) and ":" in algorithm else algorithm


def method_table(value: Any) -> Any:
    if isinstance(value, Method) or not isinstance(value, dict):
        return value
    name = value.get("algorithm")
    if not isinstance(name, str) or not ALGORITHMS.knows(name):
        known = ALGORITHMS.others(name)
        raise mistake(
            f"unknown algorithm; {known}" if "algorithm" in value else f"missing; {known}", "algorithm", value=name
        )
    try:
        table = _build_table(ALGORITHMS[name])
    except SimgmcError as error:
        raise mistake(str(error), "algorithm", value=name) from None
    return table.model_validate({"name": usual_name(value), **value})
