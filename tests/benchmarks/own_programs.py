"""What it costs that a program of one's own is held against one worker at a time, by the model's size.

    python tests/benchmarks/own_programs.py [--sizes 1e5 1e6 1e7] [--workers 8]

Prints, for the method that `simgmc new algorithm` writes (top-k, 1 %), milliseconds of a round that serves all workers
at once, of a round that is proven (rounds 1, 2, 3, 4, 8, 16 ...), and what the proofs add to 100 and 1,000 rounds.
Gradients are random numbers and not counted: each program is answered by the same ones.
"""

from __future__ import annotations

import argparse
import time

import torch

from simgmc import compressor
from simgmc.commands.new import template
from simgmc.core.layout import Layout
from simgmc.training.one_by_one import OwnMethod
from simgmc.training.stacked import StackedTrainer
from simgmc.workloads.noise import NoiseWorkload


class Constant(NoiseWorkload):
    """The same gradients in every round, drawn once."""

    def gradients(self, at, step):
        """(K, d), and losses of 0."""
        if not hasattr(self, "_once"):
            self._once = super().gradients(at, 0)
        return self._once


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=float, default=[1e5, 1e6, 1e7])
    parser.add_argument("--workers", type=int, default=8)
    arguments = parser.parse_args()
    names: dict = {}
    exec(compile(template("algorithm"), "my_method.py", "exec", dont_inherit=True), names)
    method = names["FadingGMC"](compressor("top-k", density=0.01))
    print("| parameters | a round (ms) | a proven round (ms) | of 100 rounds | of 1,000 rounds |")
    print("| ---: | ---: | ---: | ---: | ---: |")
    for size in map(int, arguments.sizes):
        workload = Constant(arguments.workers, Layout(("a",), ((size,),)), batches_per_epoch=100.0)
        trainer = StackedTrainer(OwnMethod("mine", method, 0), workload, lambda epoch: 0.01)
        took: list[float] = []
        for _ in range(16):
            begin = time.perf_counter()
            trainer.next_round().with_everybody()
            took.append(1000 * (time.perf_counter() - begin))
        assert not trainer.worker.one_by_one
        proven = [took[number - 1] for number in (2, 3, 4, 8, 16)]
        usual = [one for number, one in enumerate(took, 1) if number > 4 and number & (number - 1)]
        each, more = min(usual), min(proven) - min(usual)
        shares = [f"{100 * count * more / (rounds * each):.0f} %" for rounds, count in ((100, 8), (1000, 11))]
        print(f"| {size:,} | {each:.1f} | {min(proven):.1f} | +{shares[0]} | +{shares[1]} |", flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
