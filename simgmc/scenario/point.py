"""One fully resolved scenario: every section valid, and all of them together."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError, model_validator

from simgmc.algorithms import ALGORITHMS
from simgmc.compression import COMPRESSORS
from simgmc.core.errors import SimgmcError, suggestion
from simgmc.core.registry import ImportPath, Option
from simgmc.core.transport import Transport
from simgmc.costs.steps import MAX_UNITED
from simgmc.mixing import Mixing
from simgmc.network import worker_names
from simgmc.network.cluster.reachability import check_edges
from simgmc.network.topology.routing import Links
from simgmc.scenario.cluster.cluster import Cluster, Exchange
from simgmc.scenario.components import Described, Real, plain
from simgmc.scenario.gossip import Gossip
from simgmc.scenario.optimizer import OPTIMIZER, Optimizer, optimizer_table
from simgmc.scenario.quantities import Watts
from simgmc.scenario.tables import Table, mistake, moved, unfit
from simgmc.scenario.updates import Update, check_update, update_of
from simgmc.scenario.workload import (
    DataWorkload,
    Method,
    ProblemWorkload,
    Workload,
    method_table,
    workload_table,
)
from simgmc.workloads.problems.catalogue import PROBLEMS

METRICS = ("accuracy", "loss", "gap", "distance", "error", "top-5", "macro-f1", "perplexity", "bits-per-token")
_IMPORT = ImportPath("a metric of one's own")


class Price(Table):
    """What using the machines and the network costs; a server's hours are not counted, what it sends is."""

    currency: Annotated[str, Field(min_length=1, max_length=10)]
    """What amounts are in, such as "USD"."""
    per_gb_sent: Annotated[Real, Field(ge=0)] = 0.0
    """Of 1e9 bytes that leave a worker or a server."""
    per_worker_hour: Annotated[Real, Field(ge=0)] = 0.0
    """Of one worker, from the start until the last has finished."""


class Power(Table):
    """What one worker draws in all, by what it does."""

    compute: Watts
    """While it computes gradients or compresses."""
    network: Watts
    """While it is in an exchange: transfer, latency, adding messages."""
    idle: Watts
    """While it waits for others."""


class Report(Table):
    """What the comparison is about: the value to reach, what is measured, the method to beat.

    Unless stated the metric is the accuracy, or the workload's first where that has no meaning.
    """

    metric: Annotated[str, Described(Option("", str, choices=METRICS))] = "accuracy"
    """What runs are measured by; or one's own by import path: a function (outputs, targets) -> number of the whole test
    set, or something with ``update(output, target)`` and ``compute()`` (torchmetrics)."""
    better: Literal["higher", "lower"] | None = None
    """Which values of a metric of one's own are better; of the others it is known."""
    target: Real | None = None
    """An accuracy (or top-5, macro-f1) from 0 to 1 to reach or exceed, or a loss, an error, a perplexity, bits per
    token, a gap (F - F*) or a distance to the optimum to reach or fall below; without it nothing is said on time to
    target."""
    baseline: str | None = None
    """The name of the method that speed-ups compare with; the first unless given."""
    single_workers: bool = True
    """Evaluate every worker's own model beside the average, where they differ (K evaluations more)."""
    full_metrics: bool = False
    """Of a training that is put on more than a dozen clusters, too: every evaluation as a row of ``metrics.csv``, what
    every worker and link did, and every figure, also as PDF. Otherwise evaluations are kept together in
    ``evaluations/``, as numbers that repeat once, and maps are drawn as PNG."""
    price: Price | None = None
    """What things cost, for columns of money; without it there are none."""
    power: Power | None = None
    """What a worker draws, for columns of energy; without it there are none."""

    @model_validator(mode="after")
    def _measured(self) -> Report:
        own = _IMPORT.accepts(self.metric)
        if own:
            _IMPORT.read(self.metric)  # it is among the code that the scenario runs
        if not own and self.metric not in METRICS:
            raise mistake(
                f'unknown metric; {suggestion(self.metric, METRICS)}; or one of your own, "package.module:name"',
                "metric",
                value=self.metric,
            )
        if own and self.better is None:
            raise mistake(
                f'missing; say which values of {self.metric} are better: better = "higher" or "lower"',
                "better",
                value=None,
            )
        if not own and self.better is not None:
            raise mistake(f"of {self.metric} it is known; leave it out", "better", value=self.better)
        if not own and self.target is not None and self.target <= 0:
            raise mistake("must be above 0", "target", value=self.target)
        share = self.metric in ("accuracy", "error", "top-5", "macro-f1")
        if share and self.target is not None and self.target > 1:
            raise mistake(f"{self.metric} is a share: above 0 and at most 1", "target", value=self.target)
        return self


def reads_shared_weights(method: Method) -> bool:
    """Whether it mixes, with weights that are not its own."""
    return ALGORITHMS[method.algorithm].mixing != "none" and method.gossip is None


def _exempts_vectors(options: Mapping[str, Any]) -> bool:
    """Whether a compressor, or one inside it, leaves tensors of one dimension as they are."""
    inside = (one for one in options.values() if isinstance(one, Mapping))
    return bool(options.get("exempt_vectors")) or any(map(_exempts_vectors, inside))


def _no_folder_above(name: str) -> str:
    if not name.strip("."):
        raise ValueError("names the folder of the run: it needs a letter or a digit")
    return name


class Scenario(Table):
    """One fully resolved point of a scenario file."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$", max_length=100), AfterValidator(_no_folder_above), Described()]
    """Of the run directory, ``runs/NAME``; that of the file unless given."""
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]
    """Every method is trained with each."""
    workload: Annotated[Workload, BeforeValidator(workload_table), Described(DataWorkload, ProblemWorkload)]
    """What is trained, by how many workers, for how long."""
    optimizer: Annotated[Optimizer, BeforeValidator(optimizer_table), Described(OPTIMIZER)]
    """How parameters follow from gradients, of all methods that do not state their own."""
    cluster: Cluster
    """Where and when: the network, the machines, and what makes them imperfect."""
    gossip: Gossip | None = None
    """Who mixes with whom, of methods that do."""
    methods: Annotated[list[Annotated[Method, BeforeValidator(method_table)]], Field(min_length=1)]
    """What is compared: a table ``[[methods]]`` for each."""
    report: Report = {}
    """What the comparison is about."""

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        if len(set(self.seeds)) < len(self.seeds):
            raise mistake("a seed is listed twice", "seeds", value=self.seeds)
        names = [method.name for method in self.methods]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise mistake(
                    "two methods have this name; give one of them another", "methods", index, "name", value=name
                )
        if self.report.baseline is None:
            object.__setattr__(self, "report", self.report.model_copy(update={"baseline": names[0]}))
        if self.report.baseline not in names:
            raise mistake(
                f"no method has this name; {suggestion(self.report.baseline, names)}",
                "report",
                "baseline",
                value=self.report.baseline,
            )
        self._check_measured()
        object.__setattr__(self, "cluster", self.cluster.with_servers(self.workload.workers))
        try:
            self.cluster.check(self.workload.workers, dict.fromkeys(map(self.exchange, self.methods)))
        except ValidationError as error:
            raise moved(error, "cluster") from None
        self._check_weights()
        for index, method in enumerate(self.methods):
            algorithm = ALGORITHMS[method.algorithm]
            check_update(self.optimizer, method, index)
            self._check_left_out(index, method)
            if algorithm.asynchronous:
                self._check_asynchronous(index, method)
            elif algorithm.mixing == "none":
                self._check_carried(method)
            else:
                self._check_gossip(index, method)
        return self

    def _check_measured(self) -> None:
        metrics = self.workload.metrics
        if "metric" not in self.report.model_fields_set and self.report.metric not in metrics:
            object.__setattr__(self, "report", self.report.model_copy(update={"metric": metrics[0]}))
        own = self.report.better is not None and not isinstance(self.workload, ProblemWorkload)
        if self.report.metric not in metrics and not own:
            what = self.workload.problem.name if isinstance(self.workload, ProblemWorkload) else "training on data"
            raise mistake(
                f"{what} is measured by one of: {', '.join(metrics)}", "report", "metric", value=self.report.metric
            )
        if not isinstance(self.workload, ProblemWorkload):
            return
        for index, method in enumerate(self.methods):
            for key, chosen in method.compressors().items():
                if _exempts_vectors(chosen.options):
                    raise mistake(
                        f"exempt_vectors: the parameters of {self.workload.problem.name} are one vector, nothing would "
                        "be compressed",
                        "methods", index, key, value=plain(chosen),
                    )  # fmt: skip
        decays = {("optimizer",): self.optimizer.weight_decay} | {
            ("methods", i): m.weight_decay for i, m in enumerate(self.methods)
        }
        for place, decay in decays.items():
            if decay:
                raise mistake(
                    f"must be 0: it would move the optimum of {self.workload.problem.name}, from which its metrics "
                    "are counted",
                    *place, "weight_decay", value=decay,
                )  # fmt: skip

    def _check_left_out(self, index: int, method: Method) -> None:
        """Refuse methods that need everybody where some may be left out of an average."""
        algorithm = ALGORITHMS[method.algorithm]
        if algorithm.asynchronous or self.cluster.participation(self.workload.workers) == "all":
            return
        why = (
            algorithm.needs_everybody
            if algorithm.mixing == "none"
            else "gossip has no weights for some of the workers alone"
        )
        if why:
            crashes = self.cluster.crashes is not None
            cause = 'crashes.policy = "without"' if crashes else f"collective {self.cluster.collective!r}"
            raise unfit(
                f"does not go with {cause}, which leaves workers out: {why}",
                "methods",
                index,
                "algorithm",
                value=method.algorithm,
            )

    def _check_weights(self) -> None:
        """Refuse weights that are stated for all where those who share the table read its graph alone."""
        alone = [method.algorithm for method in self.methods if method.gossip is None and self.has_graph(method)]
        if (
            self.gossip is not None
            and alone
            and not self.weights_are_read
            and self.gossip.weights.name not in ("auto", "stated")
        ):
            names = ", ".join(dict.fromkeys(alone))
            read = (
                f"{names} read{'s' if len(set(alone)) == 1 else ''} the graph alone, no weights, and no other method "
                "shares them"
            )
            raise mistake(f"{read}; leave them out", "gossip", "weights", value=plain(self.gossip.weights))

    def _check_carried(self, method: Method) -> None:
        workers = self.workload.workers
        carried = {
            f"{key} {chosen.name!r}": (entry.summable(chosen.options),
                                     workers <= MAX_UNITED and entry.unites(chosen.options))
            for key, chosen in method.compressors().items() if (entry := COMPRESSORS[chosen.name])
        }  # fmt: skip
        carried = carried or {"its own messages": (ALGORITHMS[method.algorithm].summable, False)}
        for what, (summable, unites) in carried.items():
            if refusal := self.cluster.refusal(summable, unites or workers == 1):
                raise unfit(
                    f"cannot carry method {method.name!r} with {what}: {refusal}",
                    "cluster",
                    "collective",
                    value=self.cluster.collective,
                )

    def _check_gossip(self, index: int, method: Method) -> None:
        table = self.gossip_of(method)
        if table is None:
            raise mistake(
                f'missing; method {method.name!r} mixes with its neighbours: say who they are, such as [gossip] graph '
                '= "ring" (see simgmc list graphs)',
                "gossip", value=None,
            )  # fmt: skip
        place = ("gossip",) if method.gossip is None else ("methods", index, "gossip")
        try:
            found = self.mixing(method)
            edges = (edge for one in found.edges for edge in one.tolist())
            workers = self.workload.workers
            check_edges(Links(self.cluster.graph(workers, "neighbours")), worker_names(workers), edges, found.name)
        except SimgmcError as error:
            raise unfit(f"does not fit method {method.name!r}: {error}", *place, value=plain(table)) from None

    def _check_asynchronous(self, index: int, method: Method) -> None:
        """Workers of such a method talk to the server, or to their neighbours, there and back."""
        algorithm, workers = ALGORITHMS[method.algorithm], self.workload.workers
        if algorithm.finite_sum and not isinstance(self.workload, ProblemWorkload):
            raise mistake(
                "needs a loss that is a finite sum of fixed parts, which training on data is not; give "
                f"workload.problem, one of: {PROBLEMS.names}",
                "methods", index, "algorithm", value=method.algorithm,
            )  # fmt: skip
        table = None if algorithm.centralised else self.gossip_of(method)
        own = table is not None and method.gossip is not None
        place = ("methods", index, "gossip") if own else ("cluster", "topology") if table is None else ("gossip",)
        try:
            links = Links(self.cluster.graph(workers, self.exchange(method)))
            names = (*worker_names(workers), *self.cluster.server_names(self.exchange(method))[:1])
            if algorithm.centralised:
                edges = [(rank, workers) for rank in range(workers)]
            else:
                rounds = (
                    table.graph_of(workers).rounds
                    if table
                    else ([(a, b) for a in range(workers) for b in range(workers) if a != b],)
                )
                edges = (edge for one in rounds for edge in sorted(one))
            there_and_back = (edge for a, b in edges for edge in ((a, b), (b, a)))
            check_edges(links, names, there_and_back, method.algorithm)
        except SimgmcError as error:
            raise unfit(
                f"does not fit method {method.name!r}: {error}", *place, value=plain(table or self.cluster.topology)
            ) from None

    def update(self, method: Method) -> Update:
        """How a method updates parameters: its own settings, and those that all share where it has none."""
        return update_of(self.optimizer, method)

    def gradients(self, method: Method, per_epoch: float) -> int:
        """Minibatches of each worker in a method's training, ``per_epoch`` of them being a pass over the data."""
        return method.gradients(self.workload, per_epoch, self.optimizer.settings.accumulate)

    def gossip_of(self, method: Method) -> Gossip | None:
        """A method's own table, or the one that all share."""
        return self.gossip if method.gossip is None else method.gossip

    def exchange(self, method: Method) -> Exchange:
        """How a method exchanges messages, and so whether there is a server in its network."""
        kinds: dict[str, Exchange] = {"collective": "collective", "asynchronous server": "server"}
        return kinds.get(self.transport(method).kind, "neighbours")

    def has_server(self, methods: Iterable[Method]) -> bool:
        """Whether the network of one of these methods has a server."""
        return any(self.cluster.server_names(self.exchange(method)) for method in methods)

    def transport(self, method: Method) -> Transport:
        """What carries a method's messages: the cluster's collective, a graph that it gossips on, or a server."""
        algorithm = ALGORITHMS[method.algorithm]
        if algorithm.centralised:
            return Transport("asynchronous server")
        if not algorithm.asynchronous and algorithm.mixing == "none":
            return Transport("collective", self.cluster.collective)
        table = self.gossip_of(method)
        kind = algorithm.exchange if algorithm.asynchronous else "gossip"
        return Transport(kind, "complete" if table is None else table.graph_text)

    @staticmethod
    def has_graph(method: Method) -> bool:
        """Whether its workers exchange with their neighbours in a graph."""
        algorithm = ALGORITHMS[method.algorithm]
        return algorithm.mixing != "none" or (algorithm.asynchronous and not algorithm.centralised)

    @property
    def weights_are_read(self) -> bool:
        """Whether some method mixes with the weights that all share."""
        return any(map(reads_shared_weights, self.methods))

    def mixing(self, method: Method) -> Mixing | None:
        """Who mixes with whom in a gossip method, and with which weights; None for another."""
        needs, table = ALGORITHMS[method.algorithm].mixing, self.gossip_of(method)
        return None if needs == "none" or table is None else table.mixing(self.workload.workers, needs)

    def written(self) -> dict[str, Any]:
        """As nested plain values for TOML: every default written out, nothing None, and of gossip what is read."""
        shared = any(self.has_graph(method) and method.gossip is None for method in self.methods)
        gossip = Gossip(graph="complete") if shared and self.gossip is None else self.gossip
        content = plain(self.model_copy(update={"gossip": gossip}))  # in the order of the fields, whoever states it
        content["cluster"] |= content["cluster"].pop("own_conditions", {})
        if gossip is not None:
            content["gossip"] = _written_gossip(gossip, self.weights_are_read or not shared)
        for method, written in zip(self.methods, content["methods"], strict=True):
            if method.gossip is not None:
                written["gossip"] = _written_gossip(method.gossip, ALGORITHMS[method.algorithm].mixing != "none")
        return content


def _written_gossip(table: Gossip, weights_are_read: bool) -> dict[str, Any]:
    """Without weights that nobody reads, unless they bring the graph."""
    written = plain(table)
    if not weights_are_read and table.graph is not None:
        del written["weights"]
    return written
