"""One fully resolved scenario: every section valid, and all of them together."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, model_validator

from simgmc.algorithms import ALGORITHMS
from simgmc.compression import COMPRESSORS
from simgmc.errors import SimgmcError
from simgmc.scenario.cluster import Cluster
from simgmc.scenario.components import Real, plain
from simgmc.scenario.tables import Table, mistake, suggestion
from simgmc.scenario.workload import Method, Optimizer, Workload, method_table


class Report(Table):
    """What the comparison is about: the accuracy to reach and the method to beat."""

    target: Annotated[Real, Field(gt=0, le=1)]
    baseline: str


class Scenario(Table):
    """One fully resolved point of a scenario file."""

    name: Annotated[str, Field(pattern=r"^[\w.-]+$")]
    seeds: Annotated[list[Annotated[int, Field(ge=0, lt=2**63)]], Field(min_length=1)]
    workload: Workload
    optimizer: Optimizer
    cluster: Cluster
    methods: Annotated[list[Annotated[Method, BeforeValidator(method_table)]], Field(min_length=1)]
    report: Report

    @model_validator(mode="after")
    def _consistent(self) -> Scenario:
        if len(set(self.seeds)) < len(self.seeds):
            raise mistake("a seed is listed twice", "seeds", value=self.seeds)
        names = [method.name for method in self.methods]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise mistake("two methods have this name; give one of them another", "methods", index, "name", value=name)
        if self.report.baseline not in names:
            raise mistake(f"no method has this name; {suggestion(self.report.baseline, names)}", "report", "baseline", value=self.report.baseline)
        hosts = self.cluster.host_names(self.workload.workers)
        for host in self.cluster.hosts:
            if host not in hosts:
                raise mistake(f"no such host; {suggestion(host, hosts)}", "cluster", "hosts", host, value=host)
        try:
            self.cluster.graph(self.workload.workers)
        except SimgmcError as error:
            raise mistake(str(error), "cluster", "topology", value=plain(self.cluster.topology)) from None
        for method in self.methods:
            self._check_carried(method)
        return self

    def _check_carried(self, method: Method) -> None:
        carried = {f"{key} {chosen.name!r}": COMPRESSORS[chosen.name].summable(chosen.options) for key, chosen in method.compressors().items()}
        carried = carried or {"its own messages": ALGORITHMS[method.algorithm].summable}
        for what, summable in carried.items():
            if refusal := self.cluster.refusal(summable):
                raise mistake(f"cannot carry method {method.name!r} with {what}: {refusal}", "cluster", "collective", value=self.cluster.collective)

    def written(self) -> dict[str, Any]:
        """As nested plain values for TOML: every default written out, nothing None."""
        return plain(self)
