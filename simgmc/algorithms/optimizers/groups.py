"""What becomes of gradients beside the update rule: clipping, accumulation, and groups of parameters."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

from simgmc.core.declared import Declared, Tables, declared
from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.layout import Layout
from simgmc.core.registry import Option


@dataclass(frozen=True)
class Group(Declared):
    """Parameters with a rate or a decay of their own. Of several groups that a name matches the first counts."""

    match: tuple[str, ...] = declared(Option('patterns of parameters\' names, such as "*.bias"', list[str]))
    rate: float = declared(Option("factor on the learning rate", float, 1.0, at_least=0))
    weight_decay: float | None = declared(
        Option("weight decay, in place of the method's", float, None, at_least=0, at_most=1000)
    )

    def check_fields(self) -> None:
        """A group is of something."""
        if not self.match:
            raise SimgmcError("match = []: needs at least one pattern of parameters' names")


@dataclass(frozen=True)
class GradientSettings(Declared):
    """What becomes of a training's gradients, whatever the update rule is."""

    clip_norm: float = declared(
        Option(
            "bound on the 2-norm of a gradient without its weight decay; 0: none", float, 0.0, at_least=0, at_most=1e30
        )
    )
    clip_at: str | None = declared(
        Option(
            "whose gradient is clipped: each worker's own, or the mean; unless given, what the optimizer steps along",
            str, None, ("own", "mean"),
        )
    )  # fmt: skip
    accumulate: int = declared(Option("minibatches whose mean is one gradient", int, 1))
    groups: tuple[Group, ...] = declared(
        Tables("parameters with a rate or decay of their own; the first that matches counts", default=(), entries=Group)
    )

    def check(self, layout: Layout) -> None:
        """Raises SimgmcError for a pattern that no parameter's name matches."""
        for group in self.groups:
            for pattern in group.match:
                if not any(fnmatchcase(name, pattern) for name in layout.names):
                    raise SimgmcError(
                        f"optimizer.groups: match = {show_value(pattern)}: no parameter is called so; "
                        f"{suggestion(pattern, layout.names)}"
                    )

    def rates(self, layout: Layout) -> list[float] | None:
        """The factor on the learning rate of each of the model's tensors; None where all are 1."""
        found = [1.0 if group is None else group.rate for group in self._of(layout)]
        return None if set(found) <= {1.0} else found

    def decays(self, layout: Layout, weight_decay: float, vectors: bool) -> list[float] | None:
        """The weight decay of each of the model's tensors; None where all have the same.

        ``vectors``: whether tensors of one dimension decay where no group says so.
        """
        usual = [weight_decay if vectors or len(shape) > 1 else 0.0 for shape in layout.shapes]
        found = [
            decay if group is None or group.weight_decay is None else group.weight_decay
            for decay, group in zip(usual, self._of(layout), strict=True)
        ]
        return None if set(found) <= {weight_decay} else found

    def _of(self, layout: Layout) -> Sequence[Group | None]:
        return [
            next((one for one in self.groups if any(fnmatchcase(name, pattern) for pattern in one.match)), None)
            for name in layout.names
        ]
