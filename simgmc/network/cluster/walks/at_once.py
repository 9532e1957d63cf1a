"""Rounds without events, on many networks at once: where every exchange has the network to itself.

A worker's time is then a recurrence over rounds: its own work, then an exchange that is solved as a whole as soon as
everybody is ready. All of it is arrays with a leading dimension of networks, which differ in numbers alone
(bandwidths, latencies, times of work). One network is the same code with N = 1, and gives the same bits.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simgmc.costs.steps import Average, Compress, Compute, Mix, RoundCosts, Step
from simgmc.network.cluster.schedules import Schedules, places_of
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timing import Rows, Timing, TimingBuilder
from simgmc.network.conditions.condition import Condition
from simgmc.network.exchanges.accounts import CATEGORIES, moved_by_hosts
from simgmc.network.exchanges.schedule import Schedule, Stacked
from simgmc.network.flows.fluid import CapacityError
from simgmc.network.shortcuts.fast_flows import LinkUse
from simgmc.network.shortcuts.solutions import Solution
from simgmc.network.shortcuts.solver import Solver
from simgmc.network.topology.routing import Links

_COMPUTE, _COMPRESS, _TRANSFER, _LATENCY, _AGGREGATE, _WAIT = range(len(CATEGORIES))


@dataclass(frozen=True)
class HandedOver:
    """Where the walk on one network ends, and the event simulation begins."""

    first: int
    """The first round that is simulated by events: of those before, nothing is on its way any more by then."""
    starts: np.ndarray
    """(K,) s at which each worker begins it."""
    timings: TimingBuilder
    """The rounds before."""


_TOUCHING = 1e-13
"""Share of a time by which one exchange may begin before another has left: rounding."""
_BLOCK = 64
"""Networks of which the numbers of all rounds are put together at a time."""
_STACKS = 256
"""Exchanges of several sequences that are kept for those that come again."""
_Moved = dict[int, tuple[Schedule, np.ndarray, int]]
"""By structure (its id) or as a ring: (flows,) or (K,) bytes of all exchanges, and how many these were."""
_FEW = 3
"""Exchanges of a network that may be simulated by events, beyond half of them, before all is."""


class AtOnce:
    """A walk of all workers through rounds, on N networks of one :func:`kind`.

    Several sequences of rounds of one :func:`form` are walked together, each on its networks: messages may have other
    sizes in each.
    Exchanges are solved one after the other, each as if it had the network to itself. That is so where it uses every
    link only after all exchanges before it have left: then those are the times. A network where it does not is left to
    the event simulation from there on (:attr:`handed_over`), and so is one where most exchanges have to be simulated
    by events anyhow, because flows within them meet.
    """

    def __init__(self, settings: Sequence[ClusterSettings], of: Sequence[int] | None = None):
        """``of``: the sequence of rounds of each network; None: there is one."""
        self._settings = settings
        self._of = np.array(of or [0] * len(settings))
        self._stacks: OrderedDict[tuple[int, ...], Stacked] = OrderedDict()
        """By the schedules (their ids) of all sequences."""
        self._workers = range(len(settings[0].workers))
        of_each = {id(one): places_of(one, Links(one.payload_graph, one.seed)) for one in settings}
        self._places = [of_each[id(one)] for one in settings]
        self._schedules = Schedules(settings[0], self._places[0])
        for one, places in zip(settings, self._places):
            for condition in one.conditions:
                condition.check(places.links, len(one.workers), len(one.workers) + len(one.server_hosts))
        self._solver = Solver(self._places)
        self.on = np.ones(len(settings), bool)
        """(N,) bool: on which networks it goes on."""
        self.handed_over: dict[int, HandedOver] = {}
        """By number of network: where the walk ended."""
        self._moved: list[_Moved] = [{} for _ in range(1 + int(self._of.max()))]
        """Of each sequence."""
        drawn: dict[str, int] = {}
        self._drawn = np.array(
            [
                drawn.setdefault(repr((one.compute, one.compression, one.conditions, one.seed)), len(drawn))
                for one in settings
            ]
        )
        """(N,) which networks have the same times of work; drawn once for all of them."""
        self._draws = [settings[int(np.argmax(self._drawn == number))] for number in range(len(drawn))]
        self._interrupted = any(
            type(condition).done is not Condition.done for one in settings for condition in one.conditions
        )
        shape = len(settings), len(self._workers)
        self.ends: list[np.ndarray] = []
        """Per round: (N, K) s at which each worker had finished it."""
        self._spent: list[np.ndarray] = []
        self._busy: list[np.ndarray] = []
        self._bytes: list[np.ndarray] = []
        """Per round: (sequences, 4) bytes out of workers, into workers, into servers, out of servers."""
        self._start = np.zeros(shape)
        self._left = np.full((max(len(places.links) for places in self._places), len(settings)), -np.inf)
        """(links, N) s at which the last byte of any exchange has left each link, but for :attr:`_last`."""
        self._last: tuple[Solution, np.ndarray] | None = None
        """The last exchange and its origin (N, 1) s, where those of its kind cannot meet each other."""
        self._over: list[np.ndarray] = []
        """Per round: (N,) s at which all of it and of those before had left the network."""
        self.final = 0
        """Rounds at the beginning that nothing can change any more, on any network."""
        self._exchanges = 0
        self._counted: list[list[list[Schedule]]] = []
        """The exchanges of each sequence in rounds that are still to be counted, the last ones."""
        self._whole: tuple[int, list[np.ndarray], np.ndarray] | None = None
        """The number of :data:`_BLOCK` networks, each of these for all of its rounds, networks first, and the bytes."""

    def possible(self, costs: RoundCosts) -> bool:
        """Whether a round can be walked: its exchanges come one after the other, of all workers."""
        return all(
            isinstance(step, Compute | Compress)
            or (isinstance(step, Average) and len(step.up) == len(self._workers) and not step.background)
            or (isinstance(step, Mix) and len(step.nbytes) == len(self._workers) and not step.background)
            for step in costs
        )

    @property
    def rounds(self) -> int:
        """Rounds walked so far."""
        return len(self.ends)

    def _final(self, network: int) -> int:
        """Rounds that are over on a network, all that they sent included, when the first worker begins the next."""
        now = (self.ends[-1] if self.ends else self._start)[network].min()
        found = self.rounds
        while found > self.final and self._over[found - 1][network] >= now:
            found -= 1
        return found

    def walk(self, *rounds: RoundCosts) -> None:
        """One more round of each sequence, on the networks where that is possible; elsewhere the walk ends before
        it."""
        costs = rounds[0]
        if not self.possible(costs):
            self._leave(self.on.copy())
            return
        now = self.ends[-1] if self.ends else self._start
        spent, busy, computed = np.zeros((len(CATEGORIES), *now.shape)), np.zeros(now.shape), 0
        over = self._over[-1] if self._over else np.full(len(now), -np.inf)
        exchanges: list[list[Schedule]] = [[] for _ in rounds]
        for place, step in enumerate(costs):
            if isinstance(step, Average | Mix):
                schedules = [self._schedule(one[place]) for one in rounds]
                schedule = self._stack(schedules)
                self._leave(self.on & ~self._solver.possible(schedule, self._workers))
                if not self.on.any():
                    return
                end, left = self._exchange(schedule, now, spent)
                if not self.on.any():
                    return
                busy += end - now
                over = np.maximum(over, left)
                for several, one in zip(exchanges, schedules, strict=True):
                    several.append(one)
            elif isinstance(step, Compress):
                compressing = np.array([one.compression.of(step.nbytes) for one in self._draws])
                end = self._work(now, np.broadcast_to(compressing[self._drawn][:, None], now.shape))
                spent[_COMPRESS] += end - now
            else:
                assert isinstance(step, Compute)
                draws = [step.seconds(one.compute_times(self.rounds, computed, step.gradients)) for one in self._draws]
                end = self._work(now, np.stack(draws)[self._drawn])
                spent[_COMPUTE] += end - now
                computed += 1
            now = end
        sent = [sum((self._bytes_of(schedule) for schedule in several), np.zeros(4)) for several in exchanges]
        self._bytes.append(np.array(sent))
        self.ends.append(now)
        self._spent.append(np.moveaxis(spent, 0, -1))
        self._busy.append(busy)
        self._over.append(over)
        self._counted.append(exchanges)
        begun = now.min(axis=1)
        while self.final < self.rounds and (self._over[self.final] < begun)[self.on].all():
            self._count(self._counted.pop(0))
            self.final += 1

    def _schedule(self, step: Step) -> Schedule:
        if isinstance(step, Mix):
            return self._schedules.of_gossip(step)
        assert isinstance(step, Average)
        return self._schedules.of_average(step, list(self._workers))[1]

    def _stack(self, schedules: Sequence[Schedule]) -> Schedule:
        """The exchanges of all sequences, each on its networks."""
        key = tuple(map(id, schedules))
        if len(set(key)) == 1:
            return schedules[0]
        if key not in self._stacks:
            self._stacks[key] = Stacked(schedules, self._of)
            if len(self._stacks) > _STACKS:
                self._stacks.popitem(last=False)
        return self._stacks[key]

    def _leave(self, networks: np.ndarray) -> None:
        """End the walk on these networks, (N,) bool, before the next round."""
        for network in np.flatnonzero(networks).tolist():
            self.handed_over[network] = self._hand_over(network)
        self.on &= ~networks

    def _hand_over(self, network: int) -> HandedOver:
        first = self._final(network)
        starts = self.ends[first - 1][network] if first else self._start[network]
        parts, sequence = [[one[network] for one in part[:first]] for part in self._parts], self._of[network]
        moved = dict(self._moved[sequence])
        for exchanges in self._counted[: first - (self.rounds - len(self._counted))]:
            _count(moved, exchanges[sequence])
        timings = self._builder(network, parts, [one[sequence] for one in self._bytes[:first]], moved)
        timings.by_events = first
        return HandedOver(first, starts, timings)

    def _work(self, now: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """(N, K) s at which work begun at ``now`` is done."""
        if not self._interrupted:
            return now + seconds
        end = np.empty_like(now)
        for (network, worker), start in np.ndenumerate(now):
            end[network, worker] = self._settings[network].done(worker, start, float(seconds[network, worker]))
        return end

    def _exchange(self, schedule: Schedule, now: np.ndarray, spent: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(N, K) s at which each worker has what it waits for, and (N,) s at which all has left the network; adds to
        ``spent``, (categories, N, K) s."""
        origin = now.min(axis=1, keepdims=True)
        gates = now - origin
        try:
            solution = self._solver.solve(schedule, self._workers, gates, self.on)
        except CapacityError as error:
            raise CapacityError(f"{error} (round {self.rounds})") from error
        self._exchanges += 1
        mostly = self._solver.simulated > _FEW + self._exchanges // 2
        left = self._pass(solution, origin, self.on & (~solution.solved | mostly))
        transfer, latency, aggregate, begin = solution.back()
        spent[_TRANSFER] += transfer
        spent[_LATENCY] += latency
        spent[_AGGREGATE] += aggregate
        spent[_WAIT] += np.maximum(begin - gates, 0.0)
        return origin + solution.finish, left

    def _pass(self, solution: Solution, origin: np.ndarray, ending: np.ndarray) -> np.ndarray:
        """Let an exchange pass over the links, where that is not where the walk is ``ending``; returns (N,) s at which
        all of it has left them."""
        over = (origin + solution.finish).max(axis=1)
        if self._last is not None and self._last[0].kind is solution.kind:
            self._last = solution, origin
            self._leave(ending)
            return over
        if self._last is not None:
            before, since = self._last
            for use in before.uses():
                self._note(use, since)
        for use in solution.uses():
            begin = use.begin + origin[use.networks, 0]
            left = self._left[use.links[:, None], use.networks]
            ending[use.networks] |= (begin < left - _TOUCHING * np.abs(left)).any(axis=0) & self.on[use.networks]
        self._leave(ending)
        self._last = (solution, origin) if solution.kind is not None else None
        for use in solution.uses() if self._last is None else ():
            end = self._note(use, origin)
            over[use.networks] = np.maximum(over[use.networks], end)
        return over

    def _note(self, use: LinkUse, origin: np.ndarray) -> np.ndarray:
        """Note that links were used; returns (n,) s at which all of them are free again."""
        end = use.end + origin[use.networks, 0]
        at = use.links[:, None], use.networks
        self._left[at] = np.maximum(self._left[at], end)
        return end.max(axis=0, initial=-np.inf)

    def _bytes_of(self, schedule: Schedule) -> np.ndarray:
        """(4,) bytes that an exchange moves out of workers, into workers, into servers, out of servers."""
        if schedule.ring is not None:
            total = float(schedule.ring.sent_in_all.sum())
            return np.array([total, total, 0.0, 0.0])
        return np.array(moved_by_hosts(schedule))

    def _count(self, exchanges: Sequence[Sequence[Schedule]]) -> None:
        """Count what the exchanges of each sequence moved."""
        for sequence, several in zip(self._moved, exchanges, strict=True):
            _count(sequence, several)

    def _over_links(self, network: int, moved: _Moved) -> tuple[np.ndarray, np.ndarray]:
        """(links,) bytes and transfers over each link of a network."""
        places = self._places[network]
        nbytes, messages = np.zeros(len(places.links)), np.zeros(len(places.links))
        for schedule, sizes, many in moved.values():
            if schedule.ring is not None:
                way = places.ring(self._workers)
                nbytes += way.over_links(sizes)
                messages += way.over_links(np.full(len(sizes), float(many)))
            else:
                placement = places.placement(schedule.structure, self._workers)
                nbytes += placement.over_links(sizes)
                messages += placement.over_links(np.where(placement.local, 0.0, float(many)))
        return nbytes, messages

    def timing(self, network: int) -> Timing:
        """When everything happened on one of the networks, where it was walked to the end."""
        while self._counted:
            self._count(self._counted.pop(0))
        block, place = divmod(network, _BLOCK)
        if self._whole is None or self._whole[0] != block:
            some = slice(block * _BLOCK, (block + 1) * _BLOCK)
            whole = [np.stack([each[some] for each in one], axis=1) for one in self._parts if one]
            moves = np.array(self._bytes) if self._bytes else np.zeros((0, len(self._moved), 4))
            self._whole = block, whole or [np.zeros((_BLOCK, 0)) for _ in self._parts], moves
        sequence, parts = self._of[network], [one[place] for one in self._whole[1]]
        return self._builder(network, parts, self._whole[2][:, sequence], self._moved[sequence]).timing()

    @property
    def _parts(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        return self.ends, self._spent, self._busy

    def _builder(self, network: int, parts: Sequence[Rows], nbytes: Rows, moved: _Moved) -> TimingBuilder:
        places = self._places[network]
        builder = TimingBuilder(len(self._workers), places.links, None, {}, False)
        ends, spent, busy = parts
        builder.by_events = None
        builder.take(ends, spent, busy, nbytes, *self._over_links(network, moved))
        return builder


def _count(moved: _Moved, exchanges: Sequence[Schedule]) -> None:
    """Count what exchanges moved."""
    for schedule in exchanges:
        if schedule.ring is not None:
            key, sizes = 0, schedule.ring.sent_in_all
            transfers = schedule.ring.steps * schedule.ring.slices
        else:
            key, sizes, transfers = id(schedule.structure), schedule.nbytes, 1
        _, before, many = moved.get(key, (schedule, np.zeros(len(sizes)), 0))
        moved[key] = schedule, before + sizes, many + transfers
