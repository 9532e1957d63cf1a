"""Rounds without events, on many networks at once: where every exchange has the network to itself.

A worker's time is then a recurrence over rounds: its own work, then an exchange that is solved as a whole as soon as
everybody is ready. All of it is arrays with a leading dimension of networks, which differ in numbers alone
(bandwidths, latencies, times of work). One network is the same code with N = 1, and gives the same bits.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from simgmc.costs.steps import Average, Compress, Compute, RoundCosts
from simgmc.network.cluster.schedules import Schedules, options_of, places_of
from simgmc.network.cluster.settings import ClusterSettings
from simgmc.network.cluster.timing import Rows, Timing, TimingBuilder
from simgmc.network.collectives.accounts import CATEGORIES, moved
from simgmc.network.collectives.catalogue import COLLECTIVES
from simgmc.network.collectives.schedule import Schedule
from simgmc.network.conditions.condition import Condition
from simgmc.network.flows.fluid import CapacityError
from simgmc.network.shortcuts.solver import Solver
from simgmc.network.topology.routing import Links

_COMPUTE, _COMPRESS, _TRANSFER, _LATENCY, _AGGREGATE, _WAIT = range(len(CATEGORIES))


def nothing_but_messages(settings: ClusterSettings) -> bool:
    """Whether links keep their bandwidth and carry whole messages of all workers alone: what the conditions say."""
    chosen = settings.fast and not settings.notes_hold_ups and settings.collective != "auto"
    return chosen and settings.static and settings.whole and not settings.waits_for_first


def kind(settings: ClusterSettings) -> str:
    """What networks that are walked together have in common: all that gives an exchange its flows."""
    conditions = [condition.key for condition in settings.conditions]
    return repr(
        (
            settings.workers, settings.server_hosts, settings.collective, settings.aggregation, options_of(settings),
            conditions,
        )
    )  # fmt: skip


class AtOnce:
    """A walk of all workers through rounds, on N networks of one :func:`kind`."""

    def __init__(self, settings: Sequence[ClusterSettings]):
        self._settings = settings
        self._workers = range(len(settings[0].workers))
        self._places = [places_of(one, Links(one.payload_graph, one.seed)) for one in settings]
        self._schedules = Schedules(settings[0], self._places[0])
        for one, places in zip(settings, self._places):
            for condition in one.conditions:
                condition.check(places.links, len(one.workers), len(one.workers) + len(one.server_hosts))
        self._one_structure = COLLECTIVES[settings[0].collective].one_structure
        self._open = all(bandwidth > 0 for places in self._places for bandwidth in places.links.bandwidth)
        self._solver = Solver(self._places)
        self._proved: dict[int, tuple[Schedule, bool]] = {}
        """By structure (its id) or as a ring: an example, and whether its exchanges cannot meet."""
        self._moved: dict[int, tuple[Schedule, np.ndarray, int]] = {}
        """By structure (its id) or as a ring: (flows,) or (K,) bytes of all exchanges, and how many these were."""
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
        """Per round: bytes out of workers, into workers, into servers, out of servers."""
        self._start = np.zeros(shape)
        self._whole: list[np.ndarray] | None = None
        """Each of these for all rounds, networks first; made when the first timing is asked for."""
        self._last: list[Schedule] = []
        """The exchanges of the last round, which are still to be counted."""

    def possible(self, costs: RoundCosts) -> bool:
        """Whether a round can be walked: its exchanges come one after the other, and each has the network to itself."""
        return self._open and all(
            isinstance(step, Compute | Compress) or (isinstance(step, Average) and self._alone(step)) for step in costs
        )

    def _alone(self, average: Average) -> bool:
        if average.background or len(average.up) != len(self._workers):
            return False
        _, schedule = self._schedules.of_average(average, list(self._workers))
        key = 0 if schedule.ring is not None else id(schedule.structure)
        if key not in self._proved:
            self._proved[key] = schedule, all(places.alone(schedule, self._one_structure) for places in self._places)
        return self._proved[key][1]

    @property
    def rounds(self) -> int:
        """Rounds walked so far."""
        return len(self.ends)

    def walk(self, costs: RoundCosts) -> None:
        """One more round, which is :meth:`possible`."""
        now = self.ends[-1] if self.ends else self._start
        spent, busy, computed = np.zeros((len(CATEGORIES), *now.shape)), np.zeros(now.shape), 0
        self._count()
        for step in costs:
            if isinstance(step, Average):
                _, schedule = self._schedules.of_average(step, list(self._workers))
                end = self._exchange(schedule, now, spent)
                busy += end - now
                self._last.append(schedule)
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
        self.ends.append(now)
        self._spent.append(np.moveaxis(spent, 0, -1))
        self._busy.append(busy)
        self._bytes.append(sum((self._bytes_of(schedule) for schedule in self._last), np.zeros(4)))

    def _work(self, now: np.ndarray, seconds: np.ndarray) -> np.ndarray:
        """(N, K) s at which work begun at ``now`` is done."""
        if not self._interrupted:
            return now + seconds
        end = np.empty_like(now)
        for (network, worker), start in np.ndenumerate(now):
            end[network, worker] = self._settings[network].done(worker, start, float(seconds[network, worker]))
        return end

    def _exchange(self, schedule: Schedule, now: np.ndarray, spent: np.ndarray) -> np.ndarray:
        """(N, K) s at which each worker has the average; adds to ``spent``, (categories, N, K) s."""
        origin = now.min(axis=1, keepdims=True)
        gates = now - origin
        try:
            solution = self._solver.solve(schedule, self._workers, gates)
        except CapacityError as error:
            raise CapacityError(f"{error} (round {self.rounds})") from error
        transfer, latency, aggregate, begin = solution.back()
        spent[_TRANSFER] += transfer
        spent[_LATENCY] += latency
        spent[_AGGREGATE] += aggregate
        spent[_WAIT] += np.maximum(begin - gates, 0.0)
        return origin + solution.finish

    def _bytes_of(self, schedule: Schedule) -> np.ndarray:
        """(4,) bytes that an exchange moves out of workers, into workers, into servers, out of servers."""
        if schedule.ring is not None:
            total = float(schedule.ring.sent_in_all.sum())
            return np.array([total, total, 0.0, 0.0])
        one = moved(schedule, self._places[0].placement(schedule.structure, self._workers))
        return np.array([one.sent_by_workers, one.received_by_workers, one.into_server, one.out_of_server])

    def _count(self) -> None:
        """Count what the exchanges of the last round moved."""
        for schedule in self._last:
            if schedule.ring is not None:
                key, sizes = 0, schedule.ring.sent_in_all
                transfers = schedule.ring.steps * schedule.ring.slices
            else:
                key, sizes, transfers = id(schedule.structure), schedule.nbytes, 1
            _, before, many = self._moved.get(key, (schedule, np.zeros(len(sizes)), 0))
            self._moved[key] = schedule, before + sizes, many + transfers
        self._last = []

    def _over_links(self, network: int) -> tuple[np.ndarray, np.ndarray]:
        """(links,) bytes and transfers over each link of a network so far."""
        places = self._places[network]
        nbytes, messages = np.zeros(len(places.links)), np.zeros(len(places.links))
        for schedule, sizes, many in self._moved.values():
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
        """When everything happened on one of the networks."""
        if self._whole is None:
            self._count()
            networks = len(self._settings)
            self._whole = [np.stack(one, axis=1) if one else np.zeros((networks, 0)) for one in self._parts]
            self._moves = np.array(self._bytes)
        return self._builder(network, [one[network] for one in self._whole], self._moves).timing()

    def handed_over(self) -> TimingBuilder:
        """The times of all rounds but the last, on the one network that there is: it goes on with events."""
        return self._builder(0, [[one[0] for one in part[:-1]] for part in self._parts], self._bytes[:-1])

    @property
    def _parts(self) -> tuple[list[np.ndarray], list[np.ndarray], list[np.ndarray]]:
        return self.ends, self._spent, self._busy

    def _builder(self, network: int, parts: Sequence[Rows], moved: Rows) -> TimingBuilder:
        places = self._places[network]
        builder = TimingBuilder(len(self._workers), places.links, None, {}, False)
        ends, spent, busy = parts
        builder.take(ends, spent, busy, moved, *self._over_links(network))
        return builder
