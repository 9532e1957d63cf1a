"""What a run will send and how long it will take, from a few rounds on random gradients.

Nothing is trained: gradients are independent normal noise on every worker, so sizes that
do not depend on values are exact, and the union of sparse supports, which real gradients
share in part, is an upper bound.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from simgmc.compression.message import Message
from simgmc.core.errors import DivergenceError
from simgmc.core.layout import Layout
from simgmc.core.quantities import bytes_text
from simgmc.experiment.preflight.checks import keys_named
from simgmc.experiment.training import CostPrediction, Training
from simgmc.workloads.noise import NoiseWorkload


def predict(training: Training, layout: Layout, batches_per_epoch: float) -> list[CostPrediction]:
    """The cost of one training on each of its clusters."""
    workers = training.scenario.workload.workers
    return training.predict(NoiseWorkload(workers, layout, batches_per_epoch=batches_per_epoch, seed=training.seed))


class Wire(NamedTuple):
    """How a method's messages are written."""

    words: str
    """In a line."""
    nbytes: int
    """Of the smallest of a worker's first messages of every kind; 0 where it sends none."""


def wire_format(training: Training, layout: Layout, batches_per_epoch: float) -> Wire:
    """How this method's messages are written, from the start on and where that changes.

    Raises SimgmcError, naming the keys, where vectors of this size cannot be.
    """
    seen: dict[int, dict[str, None]] = {}
    sizes: list[int] = []
    unequal = training.scenario.workload.weighs_unequally

    def noise(workers: int) -> NoiseWorkload:
        return NoiseWorkload(workers, layout, batches_per_epoch=batches_per_epoch, same=True, unequal=unequal)

    def note(begin: int, message: Message) -> None:
        seen.setdefault(begin, {})[_size(message)] = None
        sizes.append(int(message.nbytes[0]))

    nothing = "sends nothing"
    try:
        with keys_named(training.method):
            training.send_first(noise, note)
    except DivergenceError as error:
        nothing = f"nothing, on vectors of random numbers: {error}"
    kinds = {begin: "; ".join(words) for begin, words in seen.items()} or {0: nothing}
    return Wire(_one_after_the_other(kinds), min(sizes, default=0))


def _one_after_the_other(kinds: Mapping[int, str]) -> str:
    """What is sent at first, and what from which round on at last, in a line."""
    (_, first), *later = kinds.items()
    if not later or all(words == first for _, words in later):
        return first
    begin, last = later[-1]
    between = f" (in {len(later)} steps from round {later[0][0] + 1} on)" if len(later) > 1 else ""
    return f"{first}; from round {begin + 1} on {last}{between}"


def least_sent(training: Training, wire: Wire, d: int) -> float:
    """Bytes of the smallest message of a round; of whole vectors that are sent in the clock's order a byte for each
    of ``d`` parameters, which is as few as any of them has.
    """
    return wire.nbytes if training.sends_first_alone or training.method.compressors() else float(d)


def _size(message: Message) -> str:
    if not message.compressed:
        return f"{message.wire}, {bytes_text(message.nbytes[0])}"
    return f"{message.wire}, {bytes_text(message.nbytes[0])} where dense fp32 is {bytes_text(4 * message.d)}"
