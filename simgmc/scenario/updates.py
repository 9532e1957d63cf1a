"""How each method updates parameters: what it states itself, else what all share, and what does not go together."""

from __future__ import annotations

from dataclasses import dataclass, replace

from simgmc.algorithms import ALGORITHMS
from simgmc.algorithms.optimizers import OPTIMIZERS, SGD, GradientSettings, NesterovSGD, WithOptimizer
from simgmc.algorithms.optimizers import Optimizer as Rule
from simgmc.core.errors import show_value
from simgmc.core.registry import Option
from simgmc.scenario.components import plain
from simgmc.scenario.optimizer import Optimizer, rule_of
from simgmc.scenario.tables import mistake
from simgmc.scenario.workload import Method
from simgmc.training.schedules import LearningRateSchedule


@dataclass(frozen=True)
class Update:
    """How one method updates parameters."""

    rule: Rule | None
    """In the place of the method's usual optimizer; None where it keeps that."""
    momentum: float
    """Of methods that have one and do not state it."""
    learning_rate: float
    weight_decay: float
    schedule: LearningRateSchedule
    settings: GradientSettings


def update_of(shared: Optimizer, method: Method) -> Update:
    """That of a method, given what all share."""
    named = shared.rule if method.optimizer is None else rule_of(method.optimizer)
    momentum = named.momentum if isinstance(named, SGD) else SGD().momentum
    return Update(
        _instead(shared, method),
        momentum,
        shared.learning_rate if method.learning_rate is None else method.learning_rate,
        shared.weight_decay if method.weight_decay is None else method.weight_decay,
        method.schedule or shared.schedule,
        settings_of(shared, method),
    )


def settings_of(shared: Optimizer, method: Method) -> GradientSettings:
    """What becomes of a method's gradients."""
    own = {key: value for key in ("clip_norm", "clip_at", "groups") if (value := getattr(method, key)) is not None}
    if "clip_norm" in own and "clip_norm" in ALGORITHMS[method.algorithm].options():
        own["clip_norm"] = 0.0  # the method clips by itself
    return replace(shared.settings, **own)


def _instead(shared: Optimizer, method: Method) -> Rule | None:
    if method.optimizer is not None:
        rule = rule_of(method.optimizer)
        keeps = rule.is_momentum_sgd and _option(method) is None
        return None if keeps else rule
    return None if shared.rule.is_momentum_sgd else shared.rule


def _option(method: Method) -> Option | None:
    """What the method says of the optimizers that it takes; None where it takes none."""
    return ALGORITHMS[method.algorithm].options().get("optimizer")


def check_update(shared: Optimizer, method: Method, index: int) -> None:
    """Refuse an optimizer that the method does not take, and settings that mean nothing to it."""
    algorithm, option, own = ALGORITHMS[method.algorithm], _option(method), ("methods", index)
    rule = _instead(shared, method)
    if rule is not None and (option is None or not option.accepts(rule)):
        stated = method.optimizer is not None
        name = method.optimizer.name if method.optimizer is not None else shared.name
        usual = "it goes with SGD with a momentum or none" if option is None else f"it takes {option.words}"
        why = algorithm.own_update if option is None else "what it freezes and sends are Adam's moments"
        place = (*own, "optimizer") if stated else (*own, "algorithm")
        value = plain(method.optimizer) if stated else method.algorithm
        todo = "" if stated else f'; give the method its own, such as optimizer = "{"adamw" if option else "sgd"}"'
        with_what = "these options of it" if issubclass(type(rule), (SGD, NesterovSGD)) and option is None else name
        raise mistake(f"does not go with optimizer {with_what}: {usual}, as {why}{todo}", *place, value=value)
    if rule is not None and issubclass(algorithm, WithOptimizer):
        for key in algorithm.usual_options:
            value = method.parameters().get(key)
            known = algorithm.options().get(key)
            if known is not None and value is not None and value != known.default:
                raise mistake(
                    f"belongs to the method's usual optimizer, in whose place is {type(rule).__name__}; leave it out",
                    *own, key, value=value,
                )  # fmt: skip
    settings = settings_of(shared, method)
    if settings.clip_norm and settings.clip_at == "mean" and (option is None or algorithm.steps_on == "own"):
        raise mistake(
            f"no mean gradient is known before {method.algorithm} steps; clip each worker's own", *own, "clip_at",
            value="mean",
        )  # fmt: skip
    if option is None and any(group.rate != 1 for group in settings.groups):
        raise mistake(
            f"{method.algorithm} has one learning rate for all parameters, as {algorithm.own_update}: its groups can "
            "have a weight_decay alone",
            *own, "groups", value=plain(settings.groups),
        )  # fmt: skip
    if algorithm.finite_sum and settings.accumulate > 1:
        raise mistake(
            f"{method.algorithm} takes gradients of single components; accumulate must be 1", *own, "algorithm",
            value=method.algorithm,
        )  # fmt: skip


def update_words(shared: Optimizer, method: Method) -> str:
    """How a method updates parameters, in words: its optimizer, its weight decay, what becomes of its gradients."""
    algorithm, update = method.built(), update_of(shared, method)
    if isinstance(algorithm, WithOptimizer) and not algorithm.own_update:
        rule = update.rule or algorithm.usual_optimizer()
        if update.rule is None and method.parameters().get("momentum", 0.0) is None:
            rule = replace(rule, momentum=update.momentum)
        words, vectors = _rule_words(rule), rule.decay_vectors
    else:
        own = method.parameters().get("momentum", 0.0)
        momentum = update.momentum if own is None else own
        words, vectors = "its own update" + (f", momentum {momentum:g}" if momentum else ""), True
    parts = [words]
    if update.weight_decay:
        parts.append(f"weight decay {update.weight_decay:g}" + ("" if vectors else ", not of vectors"))
    settings = update.settings
    if settings.clip_norm:
        at = settings.clip_at or algorithm.steps_on
        parts.append(f"{_CLIPPED[at]} clipped to {settings.clip_norm:g}")
    if settings.accumulate > 1:
        parts.append(f"{settings.accumulate} minibatches a gradient")
    if settings.groups:
        parts.append(f"{len(settings.groups)} group{'s' * (len(settings.groups) > 1)} of parameters")
    return "; ".join(parts)


_CLIPPED = {"own": "each worker's gradient", "mean": "the mean gradient"}


def _rule_words(rule: Rule) -> str:
    """Its name, and the options that are not as usual; of SGD its momentum."""
    name = next(name for name, cls in OPTIMIZERS.items() if cls is type(rule))
    hidden = ("decay_vectors",)
    stated = {
        key: value
        for key, option in type(rule).options().items()
        if (value := getattr(rule, key)) != option.default and key not in hidden
    }
    if isinstance(rule, SGD):
        stated = {"momentum": rule.momentum, **stated} if rule.momentum else {"without momentum": True} | stated
        stated.pop("momentum" if not rule.momentum else "", None)
    shown = (f"{key} {_shown(value)}" if value is not True else key.replace("_", " ") for key, value in stated.items())
    return ", ".join([name, *shown])


def _shown(value: object) -> str:
    return " and ".join(f"{one:g}" for one in value) if isinstance(value, tuple) and value and isinstance(
        value[0], float
    ) else show_value(value)  # fmt: skip
