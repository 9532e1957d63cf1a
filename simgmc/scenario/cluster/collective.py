"""The collective and its options, as ``cluster.collective`` and ``cluster.collective_options`` say them."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from pydantic import ValidationInfo, create_model

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import REQUIRED
from simgmc.network.collectives import CHOICES, OPTIONS, CollectiveEntry, Options
from simgmc.scenario.components import option_type
from simgmc.scenario.tables import Table, mistake


class _OwnCollectiveOptions(Table):
    """The options of a collective of one's own, and none of the others'."""

    slices: ClassVar[None] = None
    servers: ClassVar[None] = None
    shards: ClassVar[None] = None
    k: ClassVar[None] = None
    late: ClassVar[None] = None
    groups: ClassVar[None] = None

    @cached_property
    def network_options(self) -> Options:
        """As the network simulation takes them."""
        return Options(own=tuple((key, getattr(self, key)) for key in type(self).model_fields))

    def check_groups(self, workers: int) -> None:
        """It has none."""


def _own_options(entry: CollectiveEntry) -> type[_OwnCollectiveOptions]:
    """The table of a collective of one's own."""
    keys: dict[str, Any] = {
        key: (option_type(option), ... if option.default is REQUIRED else option.default)
        for key, option in entry.options.items()
    }
    return create_model("CollectiveOptions_own", __base__=_OwnCollectiveOptions, **keys)


def known_collective(name: str) -> str:
    """A collective of one's own is whole; of the others it is said later what there is."""
    if name not in CHOICES and CHOICES.knows(name):
        try:
            CHOICES[name]
        except SimgmcError as error:
            raise ValueError(str(error)) from None
    return name


def read_options(value: Any, info: ValidationInfo) -> Any:
    """The options of the collective that is named; of one's own, its own."""
    name = info.data.get("collective")
    if name is None:  # what is wrong with it is said already
        return CollectiveOptions()
    if name in CHOICES or not CHOICES.knows(name):
        return value if isinstance(value, CollectiveOptions) else CollectiveOptions.model_validate(value)
    if isinstance(value, _OwnCollectiveOptions):
        return value
    table = _own_options(CHOICES[name])
    return table.model_validate({} if isinstance(value, CollectiveOptions) else value)


_CollectiveOptions = create_model(
    "_CollectiveOptions",
    __base__=Table,
    **{key: (option_type(option), option.default) for key, option in OPTIONS.items()},
)


class CollectiveOptions(_CollectiveOptions):
    """What some collectives let one choose; see :class:`simgmc.network.collectives.Options`."""

    @cached_property
    def network_options(self) -> Options:
        """As the network simulation takes them."""
        stated = {key: value for key in OPTIONS if (value := getattr(self, key)) is not None}
        if "groups" in stated:
            stated["groups"] = tuple(tuple(int(worker) for worker in group) for group in stated["groups"])
        return Options(**stated)

    def check_groups(self, workers: int) -> None:
        """Refuse groups that do not hold every worker once."""
        if self.groups is None:
            return
        named = [worker for group in self.groups for worker in group]
        if sorted(named) != list(range(workers)):
            raise mistake(
                f"every worker, 0 to {workers - 1}, belongs to exactly one group",
                "collective_options", "groups", value=self.groups,
            )  # fmt: skip
