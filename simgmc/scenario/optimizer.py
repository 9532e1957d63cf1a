"""The table ``[optimizer]``: the update rule, its rate over time, and what becomes of gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, create_model

from simgmc.algorithms.optimizers import ENTRIES, OPTIMIZERS, GradientSettings, Group
from simgmc.algorithms.optimizers import Optimizer as Rule
from simgmc.core.errors import SimgmcError
from simgmc.core.own_code.code import is_import_path
from simgmc.core.registry import OptionError
from simgmc.scenario.cluster.conditions import declared_fields, declared_table
from simgmc.scenario.components import Component, Described, PositiveReal, Real, component
from simgmc.scenario.tables import Table, mistake
from simgmc.training.schedules import LearningRateSchedule

SETTINGS = declared_fields(GradientSettings)
"""The keys that say what becomes of gradients: types and defaults."""
if TYPE_CHECKING:
    ScheduleOrKind = LearningRateSchedule
    ClipNorm = float
    ClipAt = str
    Groups = tuple[Group, ...]
else:
    ClipNorm, ClipAt, Groups = (SETTINGS[key][0] for key in ("clip_norm", "clip_at", "groups"))
    ScheduleOrKind = Annotated[declared_table(LearningRateSchedule), BeforeValidator(lambda value: _schedule(value))]
"""A schedule; the name of its kind, an import path or a list of its phases, where that says all."""


def _schedule(value: Any) -> Any:
    """A kind's name, an import path or a list of phases as the table that it stands for."""
    if is_import_path(value):
        return {"kind": "import", "function": value}
    if isinstance(value, list):
        return {"kind": "phases", "phases": value}
    return {"kind": value} if isinstance(value, str) else value


WeightDecay = Annotated[Real, Field(ge=0, le=1000)]
LearningRate = Annotated[PositiveReal, Field(le=1e30)]


class Optimizer(Table):
    """How all methods that do not say otherwise update parameters: rule, rate over time, what becomes of gradients.

    The rule's own options (momentum, betas ...) and those of :class:`GradientSettings` are keys beside these.
    """

    name: Annotated[str, Described(ENTRIES)] = "sgd"
    """The update rule; its own options are keys beside these."""
    learning_rate: LearningRate
    """Of a step."""
    weight_decay: WeightDecay = 0.0
    """Where it goes is the rule's: into the gradient as an L2 term, or beside the step."""
    schedule: ScheduleOrKind = LearningRateSchedule()
    """How the rate changes over the training; the name of its kind, or a list of phases, where that says all."""

    @property
    def rule(self) -> Rule:
        """The update rule."""
        cls = OPTIMIZERS[self.name]
        return cls(**{key: getattr(self, key) for key in cls.options()})

    @property
    def settings(self) -> GradientSettings:
        """What becomes of gradients."""
        return GradientSettings(**{key: getattr(self, key) for key in GradientSettings.options()})


_TABLES: dict[str, type[Optimizer]] = {
    name: create_model(f"Optimizer_{name}", __base__=Optimizer, **declared_fields(cls), **SETTINGS)
    for name, cls in OPTIMIZERS.items()
}


OPTIMIZER = create_model("OPTIMIZER", __base__=Optimizer, **SETTINGS)
"""The keys that the table has whatever the rule."""


def optimizer_table(value: Any) -> Any:
    """The table of the rule that it names."""
    if isinstance(value, Optimizer) or not isinstance(value, dict):
        return value
    name = value.get("name", "sgd")
    if name not in OPTIMIZERS:
        raise mistake(f"unknown optimizer; {ENTRIES.others(name)}", "name", value=name)
    table = _TABLES[name].model_validate(value)
    try:
        table.rule  # noqa: B018, for what it refuses
    except SimgmcError as error:
        raise ValueError(str(error)) from None
    return table


def rule_of(chosen: Component) -> Rule:
    """The update rule that a component names."""
    return OPTIMIZERS[chosen.name](**chosen.options)


def _rule(value: Any) -> Any:
    try:
        rule_of(value)
    except OptionError as error:
        raise mistake(error.problem, error.key, value=error.value) from None
    except SimgmcError as error:
        raise ValueError(str(error)) from None
    return value


RULE = Annotated[component(ENTRIES), AfterValidator(_rule)]
"""The type of a key that names an optimizer, with its options."""
