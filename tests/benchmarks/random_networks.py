"""Random rounds on random networks: together, each alone, and by events.

    python tests/benchmarks/random_networks.py [--cases 500] [--first 0]

A case is a collective or messages to neighbours, a topology, conditions and some rounds, all drawn from its number.
Together and alone must have the same bits; both must have the times of the event simulation to 1e-9, and its bytes.
Prints where they have not, then how many networks were walked to the end, and how many left to events.
"""

from __future__ import annotations

import argparse
from collections import Counter

from tests.network.random_clusters import compare


def main() -> None:
    """Print what differs, and a summary."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500)
    parser.add_argument("--first", type=int, default=0)
    chosen = parser.parse_args()
    wrong, worst, ways = 0, 0.0, Counter[str]()
    for number in range(chosen.first, chosen.first + chosen.cases):
        problem, difference, found = compare(number)
        worst, ways = max(worst, difference), ways + found
        if problem:
            wrong += 1
            print(f"case {number}: {problem}", flush=True)
    print(f"{chosen.cases} cases, {wrong} wrong; times differ by at most {worst:.1e}; networks: {dict(ways)}")


if __name__ == "__main__":
    main()
