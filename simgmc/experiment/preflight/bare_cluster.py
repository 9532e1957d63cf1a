"""A cluster without a scenario round it: its keys from the command line, checked as a scenario's are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from simgmc.core.errors import SimgmcError, show_key, show_value
from simgmc.network import ClusterSettings
from simgmc.scenario.cluster.cluster import Cluster, Exchange
from simgmc.scenario.keys import set_key

_COMPUTE = {"gradient": "1 s", "compression": "0 s", "aggregation": "0 s"}
"""Nothing computes; adding takes no time unless it is stated."""


def bare_cluster(keys: Mapping[str, Any], settings: Iterable[tuple[str, Any]] = ()) -> Cluster:
    """The cluster of these keys, and of dotted ones (``transport.efficiency``) with their values.

    Raises:
        SimgmcError: naming each key that is not right.
    """
    content: dict[str, Any] = {key: value for key, value in keys.items() if value is not None}
    content["compute"] = dict(_COMPUTE)
    for key, value in settings:
        set_key({"cluster": content}, f"cluster.{key.removeprefix('cluster.')}", value, "--set")
    try:
        return Cluster.model_validate(content)
    except ValidationError as error:
        raise _told(error) from None


def settings_of(cluster: Cluster, workers: int, exchange: Exchange = "collective") -> ClusterSettings:
    """The cluster with so many workers, as the simulation takes it. Raises SimgmcError as a run would."""
    try:
        cluster.check(workers, (exchange,))
    except ValidationError as error:
        raise _told(error) from None
    return cluster.settings(workers, 0, exchange=exchange)


def _told(error: ValidationError) -> SimgmcError:
    lines = []
    for one in error.errors(include_url=False):
        text = one["msg"]
        shown = "" if text.startswith("missing") or one["input"] is None else f" = {show_value(one['input'])}"
        place = tuple(part for part in one["loc"] if part != "own_conditions")
        lines.append(f"cluster.{show_key(place)}{shown}: {text[0].lower() + text[1:]}")
    return SimgmcError("\n".join(dict.fromkeys(lines)))
