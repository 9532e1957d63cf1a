"""The collectives by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simgmc.core.errors import SimgmcError
from simgmc.core.registry import Entry, Registry
from simgmc.costs.steps import Average
from simgmc.network.collectives.lock_step_ring import lock_step_all_gather, lock_step_all_reduce
from simgmc.network.collectives.options import GROUPS, K_OF_N, SERVERS, SLICES, Options
from simgmc.network.collectives.recursive import doubling_all_gather, halving_doubling
from simgmc.network.collectives.schedule import Schedule
from simgmc.network.collectives.servers import (
    colocated_parameter_server,
    first_k_parameter_server,
    parameter_server,
    sharded_parameter_server,
)
from simgmc.network.collectives.sliced_ring import ring_all_gather, ring_all_reduce
from simgmc.network.collectives.sparse import sparse_reduce_scatter
from simgmc.network.collectives.trees import tree_all_reduce
from simgmc.network.collectives.two_level import two_level
from simgmc.network.conditions.work import Cost

Build = Callable[[Average, Cost, Options], Schedule]
"""From the sizes of one exchange, the cost of adding and the options to its flows."""


@dataclass(frozen=True)
class Collective(Entry):
    """One way to average the workers' messages; its options are those of :class:`Options` that it reads."""

    carries: str = "any"
    """"any": messages of any kind and size; "summable": all messages cover the same
    coordinates, so partial sums keep their size."""
    build: Build | None = None
    """None: it stands for another one, picked for each message."""
    servers: int = 0
    """Servers it needs besides the workers; -1: as many as the options say."""
    one_structure: bool = False
    """Whether its graph depends on the number of workers and the options alone, not on sizes."""
    needs_unions: bool = False
    """Whether sparse messages need recorded union sizes (``Average.partial``)."""
    sends_average: bool = False
    """Whether the size of the average matters: someone sends it."""
    changes_average: bool = False
    """Whether it leaves messages out, so that it computes something else than the average."""
    round_a_ring: bool = False
    """Whether every worker sends to the next one alone."""
    needs_everybody: str = ""
    """Why no worker can be left out of it; empty: one can."""

    def servers_needed(self, options: Options) -> int:
        """How many server hosts an exchange with these options uses."""
        return options.servers if self.servers < 0 else self.servers


def _either(all_reduce: Build, all_gather: Build) -> Build:
    """The all-reduce where messages can be summed on the way, the all-gather otherwise."""

    def build(average: Average, aggregation: Cost, options: Options) -> Schedule:
        return (all_reduce if average.summable else all_gather)(average, aggregation, options)

    return build


_RING = "NCCL; Patarasuk & Yuan, JPDC 2009"
_THAKUR = "Thakur, Rabenseifner & Gropp, IJHPCA 2005"

FIRST_K = "first-k-parameter-server"
AUTO = "auto"

COLLECTIVES: Registry[Collective] = Registry(
    "collective",
    (
        Collective(
            "ring",
            "sliced ring: all-reduce where messages can be summed on the way, all-gather otherwise",
            _RING,
            SLICES,
            "any",
            _either(ring_all_reduce, ring_all_gather),
            round_a_ring=True,
        ),
        Collective(
            "ring-all-reduce",
            "reduce-scatter and all-gather round a ring, in slices",
            _RING,
            SLICES,
            "summable",
            ring_all_reduce,
            round_a_ring=True,
        ),
        Collective(
            "ring-all-gather",
            "every message goes round the ring in slices; each worker adds them all",
            _THAKUR,
            SLICES,
            "any",
            ring_all_gather,
            round_a_ring=True,
        ),
        Collective(
            "lock-step-ring",
            "the textbook ring, a latency at every step: all-reduce where possible, all-gather otherwise",
            _THAKUR,
            {},
            "any",
            _either(lock_step_all_reduce, lock_step_all_gather),
            round_a_ring=True,
        ),
        Collective(
            "lock-step-ring-all-reduce",
            "reduce-scatter and all-gather round a ring, each step after the one before",
            _THAKUR,
            {},
            "summable",
            lock_step_all_reduce,
            round_a_ring=True,
        ),
        Collective(
            "lock-step-ring-all-gather",
            "every message goes round the ring, each step after the one before",
            _THAKUR,
            {},
            "any",
            lock_step_all_gather,
            round_a_ring=True,
        ),
        Collective(
            "parameter-server",
            "one server: every worker pushes, the server adds, everyone pulls the encoded average",
            "Li et al., OSDI 2014",
            SLICES,
            "any",
            parameter_server,
            servers=1,
            one_structure=True,
            sends_average=True,
        ),
        Collective(
            "sharded-parameter-server",
            "the parameters cut among several servers",
            "Li et al., OSDI 2014",
            SLICES | SERVERS,
            "any",
            sharded_parameter_server,
            servers=-1,
            one_structure=True,
            sends_average=True,
        ),
        Collective(
            "colocated-parameter-server",
            "every worker also serves one shard",
            "Jiang et al., OSDI 2020",
            SLICES,
            "any",
            colocated_parameter_server,
            one_structure=True,
            sends_average=True,
        ),
        Collective(
            FIRST_K,
            "the server waits for the first k messages only; late ones are dropped or carried over",
            "Chen et al., arXiv 1604.00981; Dutta et al., AISTATS 2018",
            K_OF_N,
            "any",
            first_k_parameter_server,
            servers=1,
            sends_average=True,
            changes_average=True,
        ),
        Collective(
            "halving-doubling",
            "reduce-scatter by recursive halving, all-gather by recursive doubling",
            _THAKUR,
            {},
            "summable",
            halving_doubling,
            one_structure=True,
        ),
        Collective(
            "doubling-all-gather",
            "all-gather by recursive doubling; each worker adds all messages",
            "Bruck et al., IEEE TPDS 1997",
            {},
            "any",
            doubling_all_gather,
            one_structure=True,
        ),
        Collective(
            "double-binary-tree",
            "reduce and broadcast on two complementary binary trees, in slices",
            "Sanders, Speck & Traeff, Parallel Computing 2009; NCCL",
            SLICES,
            "summable",
            tree_all_reduce,
        ),
        Collective(
            "two-level",
            "all-reduce inside each site, between the sites, inside again",
            "hierarchical all-reduce; Cho et al., BlueConnect, MLSys 2019",
            GROUPS,
            "summable",
            two_level,
            one_structure=True,
        ),
        Collective(
            "sparse-reduce-scatter",
            "ring all-reduce of sparse messages; partial sums grow as supports unite",
            "Li & Hoefler, Ok-Topk, PPoPP 2022",
            SLICES,
            "any",
            sparse_reduce_scatter,
            needs_unions=True,
            round_a_ring=True,
            needs_everybody="it needs to know how the supports of all workers' messages unite; use another collective",
        ),
    ),
)

CHOICES: Registry[Collective] = Registry(
    "collective",
    (
        *COLLECTIVES.values(),
        Collective(
            AUTO,
            "whichever is the fastest on this network for a message of that size",
            "-",
            SLICES | SERVERS,
            servers=-1,
            needs_everybody="it chooses by the size of the average, which is known only when it is known who takes "
            "part; name the collective",
        ),
    ),
)
"""What a cluster may name: the collectives, and that one be picked for each message."""


def check(name: str, summable: bool) -> None:
    """Refuse messages that a collective cannot carry, saying which could."""
    if COLLECTIVES[name].carries == "summable" and not summable:
        others = ", ".join(entry.name for entry in COLLECTIVES.values() if entry.carries == "any")
        raise SimgmcError(
            f"collective {name!r} adds messages on their way, but these messages cover different coordinates "
            f"on every worker: use one that carries any message ({others}), or a compressor whose support all workers "
            "share"
        )


def schedule(name: str, average: Average, aggregation: Cost, options: Options = Options()) -> Schedule:
    """The flows of one exchange. ``aggregation``: what adding messages costs."""
    check(name, average.summable)
    build = COLLECTIVES[name].build
    assert build is not None
    return build(average, aggregation, options)
