"""What leaves the interfaces of real processes, beside the simulated payload and what the protocols add to it.

    python analysis/wire_bytes.py      # Linux, root

4 and 8 ranks in network namespaces of their own, links of 100 Mbit/s, Gloo over TCP. Messages of 1 kB to 1 MB, dense
and sparse, in every way that exchanges are carried. The payload is the simulator's, what is added follows from the
protocols (`simgmc/distributed/twin/protocol.py`), and the kernel counts what leaves. No number is fitted to
these bytes; how many acknowledgements ride on other segments is an assumption that was made after seeing them.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from twin import COLLECTIVES, settings_of

from simgmc.core.quantities import bytes_text
from simgmc.costs.steps import RoundCosts
from simgmc.distributed.measured import read_calls
from simgmc.distributed.twin import protocol
from simgmc.distributed.twin.laboratory import Laboratory
from simgmc.distributed.twin.measuring import Timed, read
from simgmc.distributed.twin.protocol import OVERHEADS, overhead
from simgmc.network import Host, star, worker_names
from simgmc.network.cluster.cluster import simulate
from simgmc.network.conditions.overheads import IDEAL

RESULT = Path(__file__).parent / "results" / "wire_bytes.md"
NODES, BANDWIDTH = (4, 8), 12.5e6
SIZES = (1_000, 10_000, 100_000, 1_000_000)
"""Bytes of a message."""
DENSITY = 0.1
REPETITIONS = 20


@dataclass(frozen=True)
class Row:
    """One exchange: bytes of all hosts, an exchange."""

    one: Timed
    payload: float
    terms: dict[str, float]
    counted: float

    @property
    def expected(self) -> float:
        """Payload and what the protocols add."""
        return self.payload + sum(self.terms.values())

    @property
    def error(self) -> float:
        """Relative."""
        return self.expected / self.counted - 1


def measure(nodes: int) -> list[Timed]:
    """All exchanges between so many ranks."""
    names, half = worker_names(nodes), nodes // 2
    sites = [list(range(half)), list(range(half, nodes))]
    wanted = []
    for collective in COLLECTIVES:
        for size in SIZES:
            own = sites if collective == "two-level" else []
            wanted.append({"collective": collective, "nbytes": size, "sites": own})
            # Blocks that all share carry values alone, others their places too.
            entry = 4 if own else 8
            sparse = {"collective": collective, "nbytes": round(size / entry * 4 / DENSITY), "density": DENSITY}
            wanted.append(sparse | {"sites": own})
    with tempfile.TemporaryDirectory() as folder:
        plan, out = Path(folder) / "plan.json", Path(folder) / "rows.jsonl"
        plan.write_text(json.dumps({"wanted": wanted, "repetitions": REPETITIONS}))
        command = [sys.executable, "-m", "simgmc.distributed.twin.measuring", str(plan), str(out)]
        with Laboratory(star([Host(name, BANDWIDTH, BANDWIDTH, 0.0) for name in names]), names) as laboratory:
            laboratory.run_or_raise(command, 600.0)
        return read(out)


def compared(one: Timed) -> Row:
    """Its payload simulated, its protocols' bytes, and what was counted."""
    timing = simulate(settings_of(one, BANDWIDTH, IDEAL), [RoundCosts([one.cost])])
    payload = sum(n for (source, _), n in zip(timing.links, timing.link_bytes) if source.startswith("worker"))
    found = [overhead(read_calls([calls])) for calls in one.calls]
    times = len(one.seconds)
    terms = {term: sum(getattr(each, term) for each in found) / times for term in OVERHEADS}
    return Row(one, float(payload), terms, sum(one.counted) / times)


def report(rows: list[Row]) -> None:
    """`results/wire_bytes.md`."""
    errors = np.abs([row.error for row in rows])
    bare = np.abs([row.payload / row.counted - 1 for row in rows])
    text = (protocol.__doc__ or "").replace(":class:", "").replace("``", "`")
    why = [" ".join(part.split()) for part in text.strip().split("\n\n")[2:]]
    lines = [
        "# Bytes on the wire",
        "",
        "`python analysis/wire_bytes.py`: " + " ".join((__doc__ or "").split("\n\n")[2].split()),
        "",
        f"**{len(rows)} exchanges: expected and counted differ by {np.median(errors):.1%} in the middle, "
        f"{errors.max():.1%} at most** (payload alone: {np.median(bare):.0%} and {bare.max():.0%}).",
        "",
        *(line for part in why for line in (part, "")),
        "Bytes of all hosts, an exchange (a barrier before it included):",
        "",
        f"| exchange | ranks | message | payload | {' | '.join('+ ' + term for term in OVERHEADS)} | expected "
        "| counted | error |",
        "| --- " * (8 + len(OVERHEADS)) + "|",
    ]
    for row in rows:
        wanted = row.one.wanted
        kind = f"{wanted.collective}, {'dense' if wanted.density is None else 'sparse'}"
        sizes = [row.payload, *row.terms.values(), row.expected, row.counted]
        lines.append(
            f"| {kind} | {row.one.workers} | {bytes_text(float(np.mean(row.one.up)))} | "
            + " | ".join(map(bytes_text, sizes))
            + f" | {row.error:+.1%} |"
        )
    RESULT.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


if __name__ == "__main__":
    report([compared(one) for nodes in NODES for one in measure(nodes)])
