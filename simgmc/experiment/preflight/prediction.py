"""What a run will send and how long it will take, from a few rounds on random gradients.

Nothing is trained: gradients are independent normal noise on every worker, so sizes that
do not depend on values are exact, and the union of sparse supports, which real gradients
share in part, is an upper bound.
"""

from __future__ import annotations

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


def wire_format(training: Training, layout: Layout) -> str:
    """One line: how this method's messages are written.

    Raises SimgmcError, naming the keys, where vectors of this size cannot be.
    """
    seen: dict[str, None] = {}
    unequal = training.scenario.workload.weighs_unequally

    def note(message: Message) -> None:
        seen[_size(message)] = None

    try:
        with keys_named(training.method):
            training.send_first(lambda workers: NoiseWorkload(workers, layout, same=True, unequal=unequal), note)
    except DivergenceError as error:
        return "; ".join(seen) or f"nothing, on vectors of random numbers: {error}"
    return "; ".join(seen) or "sends nothing"


def _size(message: Message) -> str:
    if not message.compressed:
        return f"{message.wire}, {bytes_text(message.nbytes[0])}"
    return f"{message.wire}, {bytes_text(message.nbytes[0])} where dense fp32 is {bytes_text(4 * message.d)}"
