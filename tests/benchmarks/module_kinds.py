"""How far is every kind of module from plain PyTorch after 20 steps, on the plain route and on the one that is chosen?

    python tests/benchmarks/module_kinds.py > analysis/results/module_kinds.md

The largest difference of a parameter, relative to the largest parameter, after 20 steps of SGD with three workers; the
reference is one module for each worker, built anew and never copied (tests/workloads/module_kinds.py). float32.
"""

from __future__ import annotations

import re
import sys
import warnings
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import torch  # noqa: E402 - the tests' kinds are found from the repository's root

from simgmc.core.errors import SimgmcError  # noqa: E402
from simgmc.workloads.classification import ClassificationWorkload  # noqa: E402
from tests.workloads import later_kinds  # noqa: E402, F401 - adds to the kinds
from tests.workloads.module_kinds import KINDS, STEPS, WORKERS, built, data, difference  # noqa: E402


def main() -> None:
    warnings.filterwarnings("ignore")
    print(f"# Kinds of modules: largest difference from plain PyTorch after {STEPS} steps\n")
    print("Made by `python tests/benchmarks/module_kinds.py > analysis/results/module_kinds.md`; ", end="")
    print(f"torch {torch.__version__}, float32.\n\nA difference of 0 is byte for byte. ", end="")
    print("Where a pass changes a parameter itself on a later minibatch (two kinds), the next worker sees what the one")
    print("before has changed, as all share a point; in the reference each has a module of its own.\n")
    print(
        "| kind | chosen route, and why not a faster one | plain, 1 thread | 2 threads | chosen, 1 thread | 2 threads |"
    )
    print("| --- | --- | --- | --- | --- | --- |")
    for name in KINDS:
        try:
            owned = [range(30 * worker, 30 * worker + 30) for worker in range(WORKERS)]
            work = ClassificationWorkload(built(name), data(KINDS[name][0]), owned, batch=8, seed=3)
            found = [difference(name, route=route, threads=n)[1] for route in ("plain", None) for n in (1, 2)]
        except SimgmcError as error:
            print(f"| {name} | refused: {error} | | | | |")
            continue
        reasons = [re.sub(r" \([^()]*, line \d+, in [^()]*\)$", "", reason) for reason in work.reasons]
        why = f": {'; '.join(reasons)}" if reasons else ""
        print(
            f"| {name} | {work.route}{why} | {' | '.join(f'{one:.1e}' if one else '0' for one in found)} |", flush=True
        )


if __name__ == "__main__":
    main()
