"""Training that the simulated clock drives: times, order, batching, going on after a stop."""

import dataclasses
import itertools
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from simgmc.algorithms.effects import Collect, Exchange, Gradient, Request, Send, Start, Wait
from simgmc.core.errors import SimgmcError
from simgmc.costs.steps import Compute, RoundCosts
from simgmc.network import ClusterSettings, ComputeTime, Duration, Host, simulate
from simgmc.network.conditions.changes import NetworkChanges
from simgmc.network.conditions.crashes import Crash, Crashes
from simgmc.network.conditions.failures import LinkFailure
from simgmc.network.conditions.pauses import Pauses
from simgmc.network.conditions.stragglers import Stragglers
from simgmc.network.flows.clock import Clock
from simgmc.network.topology.catalogue import build as build_topology
from simgmc.results.directory.checkpoint import Checkpoints
from simgmc.training.journal import NOTHING, Asked, Diverged, Journal, Parcel, RoundOver, Served
from simgmc.training.per_worker import PerWorkerTrainer
from simgmc.training.saved_state import from_arrays, to_arrays
from tests.asynchronous_runs import BANDWIDTH, GRADIENT, LATENCY, algorithm, classification, quadratic, run, settings

METHODS = {
    "swarm": ("swarm-sgd", {}),
    "swarm geometric": ("swarm-sgd", {"geometric": True, "period": 3}),
    "swarm non-blocking": ("swarm-sgd-non-blocking", {}),
    "swarm lattice": (
        "swarm-sgd-non-blocking",
        {"compressor": "lattice", "compressor_options": {"side": 1e-3, "bits": 12}},
    ),
    "pop": ("pop-sgd", {}),
    "ad-psgd": ("ad-psgd", {}),
    "osgp": ("osgp", {"staleness": 1}),
    "async": ("async-sgd", {}),
    "async top-k": ("async-sgd", {"compressor": "top-k", "compressor_options": {"count": 3}}),
    "staleness-aware": ("staleness-aware-sgd", {"server_momentum": 0.3}),
    "ssp": ("stale-synchronous-sgd", {"bound": 1}),
    "adsaga": ("adsaga", {}),
}


def method(name, workload):
    registered, parameters = METHODS[name]
    return algorithm(registered, workload, **parameters)


def bits(tensor):
    return tensor.contiguous().numpy().tobytes()


# times against closed forms ------------------------------------------------------------


def test_an_asynchronous_server_answers_one_worker_after_compute_and_two_ways():
    workload = quadratic(workers=1)
    found = run(algorithm("async-sgd", workload), workload, settings(1, aggregation=Duration(2e-3)), gradients=10)
    message = 4 * workload.d / BANDWIDTH + LATENCY
    turn = GRADIENT + message + 2e-3 + message
    assert found.peers.now == pytest.approx(9 * turn + GRADIENT, rel=1e-9)
    spent = found.loop.spent()[0]
    assert spent == pytest.approx(
        [10 * GRADIENT, 0, 18 * 4 * workload.d / BANDWIDTH, 18 * LATENCY, 9 * 2e-3, 0], rel=1e-9, abs=1e-12
    )


def test_requests_of_equal_workers_are_added_one_after_the_other_at_the_server():
    workload = quadratic(workers=4)
    found = run(algorithm("async-sgd", workload), workload, settings(4, aggregation=Duration(8e-3)), gradients=5)
    # Four messages share the server's link and land together; each takes a quarter of the adding.
    landed = GRADIENT + 4 * 4 * workload.d / BANDWIDTH + LATENCY
    back = landed + 8e-3 / 4 + 4 * workload.d / BANDWIDTH + LATENCY
    assert found.peers.now == pytest.approx(back + GRADIENT, rel=1e-9)


def test_two_workers_meet_when_the_slower_is_ready_and_swap_in_one_message_time():
    workload = quadratic(workers=2)
    found = run(algorithm("swarm-sgd", workload, period=3), workload, settings(2, {1: 5.0}), gradients=12)
    swap = 4 * workload.d / BANDWIDTH + LATENCY
    assert found.loop.round_ends[0][0] == pytest.approx(15 * GRADIENT + swap, rel=1e-9)
    assert found.peers.now == pytest.approx(2 * (15 * GRADIENT + swap) - 0, rel=0.5)
    assert found.loop.spent()[0, 5] >= 12 * GRADIENT * 0.99


def test_the_nth_gradient_takes_as_long_as_in_round_n_of_a_synchronous_run():
    """The same straggler draws, whatever order things happen in; the gradient under way is not over yet."""
    cluster = settings(4, {1: 3.0}, sigma=0.6)
    found = run(algorithm("ad-psgd", quadratic()), quadratic(), cluster, gradients=50)
    stacked = (
        simulate(dataclasses.replace(cluster, collective="auto"), [RoundCosts((Compute(1),))] * 50)
        .breakdown[:, :, 0]
        .cumsum(axis=0)
    )
    spent = found.loop.spent()[:, 0]
    done = np.array([stacked[count - 1, rank] for rank, count in enumerate(found.loop.gradients)])
    begun = np.array([stacked[count, rank] for rank, count in enumerate(found.loop.gradients)])
    assert (done * (1 - 1e-12) <= spent).all() and (spent <= begun).all() and np.isclose(done, spent, rtol=1e-12).any()


def test_gradients_overlap_with_the_averaging_of_ad_psgd():
    workload = quadratic(workers=2)
    found = run(algorithm("ad-psgd", workload), workload, settings(2), gradients=40)
    # There and back take less than a gradient, so nobody ever waits.
    assert found.peers.now == pytest.approx(20 * GRADIENT, rel=1e-9)
    assert found.loop.spent()[:, 0] == pytest.approx([20 * GRADIENT] * 2, rel=1e-9)


@pytest.mark.parametrize("slow", [0, 1], ids=["the active worker's link", "the passive one's"])
def test_an_averaging_of_ad_psgd_over_a_slow_link_holds_up_the_worker_that_started_it(slow):
    """Its rounds take as long as the way there and back, its gradients hidden behind; who is asked goes on."""
    workload, cluster, slower = quadratic(workers=2), settings(2), BANDWIDTH / 1000
    for link in ((f"worker{slow}", "switch"), ("switch", f"worker{slow}")):
        cluster.graph.edges[link]["bandwidth"] = slower
    found = run(algorithm("ad-psgd", workload), workload, cluster, gradients=100)
    active, passive = (np.array(ends) for ends in found.loop.round_ends)
    there_and_back = 2 * (4 * workload.d / slower + LATENCY)
    assert there_and_back > 5 * GRADIENT
    assert active == pytest.approx(there_and_back * np.arange(1, len(active) + 1), rel=1e-9)
    assert passive == pytest.approx(GRADIENT * np.arange(1, len(passive) + 1), rel=1e-9)
    # 100 gradients took 50 where the link was as fast as the others, and take most of 100 now.
    assert found.peers.now > 85 * GRADIENT


@pytest.mark.parametrize("name", METHODS)
def test_every_workers_parts_add_up_to_the_time_of_the_run(name):
    workload = quadratic()
    found = run(method(name, workload), workload, settings(sigma=0.3, aggregation=Duration(1e-3)), gradients=100)
    assert found.loop.spent().sum(axis=1) == pytest.approx([found.peers.now] * 4, rel=1e-12)


@pytest.mark.parametrize("name", [name for name in METHODS if name != "osgp"])
def test_gradients_that_were_finished_have_a_staleness_each_or_are_under_way(name):
    workload = quadratic()
    found = run(method(name, workload), workload, settings(sigma=0.3), gradients=200)
    applied = sum(found.loop.staleness.values())
    assert 200 - 4 * 4 <= applied <= sum(found.loop.gradients)


def test_messages_of_overlap_sgp_have_a_staleness_each_or_are_under_way():
    """In rounds: 1 where a message takes less than a gradient, the bound where it takes longer than all that may be
    waited for.
    """
    workload = quadratic()
    for latency, expected in ((1e-5, {1}), (5.0, {3})):
        hosts = [Host(f"worker{rank}", 1e9, 1e9, latency) for rank in range(4)]
        cluster = dataclasses.replace(
            settings(), graph=build_topology("star", [*hosts, Host("server", 1e9, 1e9, latency)])
        )
        found = run(algorithm("osgp", workload, staleness=3), workload, cluster, gradients=200)
        assert set(found.loop.staleness) == expected
        assert 3 * (200 - 4 * 5) <= sum(found.loop.staleness.values()) <= 3 * 200


# order ------------------------------------------------------------------------------------


class ShuffledClock(Clock):
    """Events of one instant and priority come in a random order."""

    order = np.random.default_rng(0)

    def __init__(self):
        super().__init__()
        self._eid = (int(number) for number in iter(lambda: self.order.integers(1 << 60), None))


@pytest.mark.parametrize("name", METHODS)
def test_the_order_in_which_events_of_one_instant_were_made_changes_nothing(name, monkeypatch):
    # Equal workers and no randomness in time: nearly every instant holds several events.
    def once():
        workload = quadratic()
        return run(method(name, workload), workload, settings(aggregation=Duration(1e-3)), gradients=80)

    plain = once()
    monkeypatch.setattr("simgmc.network.cluster.fabric.Clock", ShuffledClock)
    for _ in range(2):
        shuffled = once()
        assert bits(shuffled.params) == bits(plain.params)
        assert shuffled.peers.now == plain.peers.now
        assert shuffled.loop.staleness == plain.loop.staleness
        assert np.array_equal(shuffled.loop.spent(), plain.loop.spent())


def test_a_slow_worker_changes_who_meets_whom_and_so_the_numbers():
    results = []
    for slow in (1.0, 3.0):
        workload = quadratic()
        results.append(run(algorithm("swarm-sgd", workload), workload, settings(4, {0: slow})))
    assert bits(results[0].params) != bits(results[1].params)
    assert results[1].loop.gradients[0] < min(results[1].loop.gradients[1:])


def test_an_asynchronous_server_loses_little_by_a_slow_worker_and_a_bound_of_zero_all_of_it():
    times = {}
    for name, slow in itertools.product(("async-sgd", "stale-synchronous-sgd"), (1.0, 5.0)):
        workload = quadratic(workers=8)
        parameters = {"bound": 0} if name != "async-sgd" else {}
        times[name, slow] = run(
            algorithm(name, workload, **parameters), workload, settings(8, {0: slow}), gradients=400
        ).peers.now
    assert times["async-sgd", 5.0] < 1.2 * times["async-sgd", 1.0]
    assert times["stale-synchronous-sgd", 5.0] > 3 * times["stale-synchronous-sgd", 1.0]


# together or alone ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "batch_norm"), [*((name, True) for name in METHODS if name != "adsaga"), ("swarm", False)]
)
def test_gradients_computed_together_are_bit_for_bit_those_computed_alone(name, batch_norm):
    runs = []
    for together in (True, False):
        workload = classification(batch_norm=batch_norm)
        runs.append(
            (run(method(name, workload), workload, settings(sigma=0.3), gradients=60, together=together), workload)
        )
    (first, one), (second, other) = runs
    assert bits(first.params) == bits(second.params)
    assert all(bits(one.state_dict()[key]) == bits(value) for key, value in other.state_dict().items())
    assert first.trainer.batch_calls < 0.6 * second.trainer.batch_calls


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(threads):
    reference, workload = classification(threads=1), classification(threads=threads)
    one = run(algorithm("swarm-sgd", reference), reference, settings(sigma=0.3))
    other = run(algorithm("swarm-sgd", workload), workload, settings(sigma=0.3))
    assert bits(one.params) == bits(other.params)


# going on ---------------------------------------------------------------------------------------


class Stop(Exception):
    pass


@pytest.mark.parametrize(("name", "stops"), [(name, (1 + 4 * n, 58 - 3 * n)) for n, name in enumerate(METHODS)])
def test_a_run_that_goes_on_from_any_instant_ends_with_the_same_bits(name, stops, tmp_path):
    def fresh():
        return quadratic() if name == "adsaga" else classification(batch_norm=True)

    cluster = settings(sigma=0.3, slowdown={1: 2.5}, aggregation=Duration(1e-3))
    workload = fresh()
    whole = run(method(name, workload), workload, cluster, gradients=60)
    for stop in stops:
        checkpoints = Checkpoints(tmp_path, f"{name} {stop}", every=0)
        workload = fresh()
        trainer = PerWorkerTrainer(method(name, workload), workload, lambda epoch: 0.05, seed=1)
        journal = Journal(trainer)

        def save(loop, stop=stop, trainer=trainer, journal=journal, checkpoints=checkpoints):
            if sum(loop.gradients) >= stop:
                arrays, plain = to_arrays(trainer.state_dict())
                checkpoints.save({**arrays, "journal": journal.to_array()}, plain)
                raise Stop

        with pytest.raises(Stop):
            run(None, workload, cluster, gradients=60, trainer=trainer, journal=journal, on_instant=save)
        arrays, plain = checkpoints.load()
        words = arrays.pop("journal")
        workload = fresh()
        trainer = PerWorkerTrainer(method(name, workload), workload, lambda epoch: 0.05, seed=1)
        trainer.load_state_dict(from_arrays(arrays, plain))
        journal = Journal(trainer, words)
        again = run(None, workload, cluster, gradients=60, trainer=trainer, journal=journal)
        assert bits(again.params) == bits(whole.params)
        assert again.peers.now == whole.peers.now and again.loop.staleness == whole.loop.staleness
        assert np.array_equal(again.journal.to_array(), whole.journal.to_array())
        state, expected = again.trainer.workload.state_dict(), whole.trainer.workload.state_dict()
        assert all(bits(state[key]) == bits(value) for key, value in expected.items())


def test_a_journal_alone_gives_every_time_again():
    workload = classification()
    cluster = settings(sigma=0.3)
    whole = run(algorithm("async-sgd", workload), workload, cluster)
    again = run(None, workload, cluster, journal=Journal(None, whole.journal.to_array()), trainer="nothing is trained")
    assert again.peers.now == whole.peers.now and np.array_equal(again.loop.spent(), whole.loop.spent())


@given(cut=st.integers(1, 40))
@examples(max_examples=20, deadline=None)
def test_a_journal_that_ends_in_the_middle_of_an_answer_is_refused(cut):
    workload = quadratic()
    words = run(algorithm("async-sgd", workload), workload, settings(), gradients=8).journal.to_array()
    journal = Journal(None, words[:cut])
    with pytest.raises(SimgmcError, match="journal of this training ends in the middle"):
        run(None, workload, settings(), gradients=8, journal=journal, trainer="nothing is trained")


def test_a_journal_with_a_step_of_no_kind_is_refused():
    journal = Journal(None, np.array([9, 0, NOTHING, 0, 0, 0]))
    with pytest.raises(SimgmcError, match="damaged: it has a step of kind 9"):
        journal.advance(0, NOTHING)


def test_the_words_of_a_journal_are_those_of_earlier_versions():
    """Files hold them: each step's kind, to whom or which, message, its bytes and those compressed, then staleness."""
    parcel = Parcel(3, 40, 120)
    said = {
        Gradient(at=None): [0, 0, -1, 0, 0],
        Exchange(2, parcel): [1, 2, 3, 40, 120],
        Request(-1, parcel): [2, -1, 3, 40, 120],
        Send(2, parcel): [3, 2, 3, 40, 120],
        Collect(5): [4, 5, -1, 0, 0],
        Start(Request(2, parcel)): [5, 2, 3, 40, 120],
        Wait(1): [6, 1, -1, 0, 0],
        RoundOver(): [7, 0, -1, 0, 0],
        Diverged(): [8, 0, -1, 0, 0],
    }

    class Saying:
        def advance(self, worker, answer):
            return Asked(answer, (6, 7))

        def serve(self, asked, asker, message):
            return Served(((1, parcel), (2, Parcel(4, 50))), (8,))

    journal = Journal(Saying())
    for step in said:
        journal.advance(0, step)
    served = journal.serve(0, 1, 2)
    expected = [word for words in said.values() for word in [*words, 2, 6, 7]] + [2, 1, 3, 40, 120, 2, 4, 50, 0, 1, 8]
    assert journal.to_array().tolist() == expected
    again = Journal(None, journal.to_array())
    for step in said:
        found, staleness = again.advance(0, NOTHING)
        assert (type(found), vars(found).keys(), staleness) == (type(step), vars(step).keys(), (6, 7))
        assert isinstance(step, Start) or vars(found) == vars(step)
        assert not isinstance(step, Start) or vars(found.effect) == vars(step.effect)
    assert again.serve(0, 1, 2) == served and not again.replaying


# conditions ---------------------------------------------------------------------------------------


def test_a_worker_that_crashes_loses_its_step_and_holds_up_nobody_else():
    cluster = settings(conditions=(Crashes((Crash(1, 0.055, 0.5),), "wait"),))
    workload = quadratic()
    found = run(algorithm("async-sgd", workload), workload, cluster, gradients=150)
    others = [count for rank, count in enumerate(found.loop.gradients) if rank != 1]
    assert found.loop.gradients[1] < min(others) - 20
    assert found.loop.spent().sum(axis=1) == pytest.approx([found.peers.now] * 4, rel=1e-12)


def test_a_run_in_which_everybody_waits_for_one_who_is_gone_says_so():
    cluster = settings(conditions=(Crashes((Crash(1, 0.055),), "without"),))
    workload = quadratic()
    found = run(algorithm("stale-synchronous-sgd", workload, bound=2), workload, cluster, gradients=1000)
    assert re.match(r"nothing more can happen at t = .* gone for good", found.peers.stopped)
    assert found.loop.spent().sum(axis=1) == pytest.approx([found.peers.now] * 4, rel=1e-12)


DEAD = NetworkChanges(failures=(LinkFailure(0.5, source="worker1", destination="switch"),))


@pytest.mark.parametrize("name", ["osgp", "swarm"])
def test_a_link_that_is_dead_for_good_ends_the_run_when_nothing_more_can_happen(name):
    workload = quadratic()
    found = run(method(name, workload), workload, settings(conditions=(DEAD,)), gradients=10_000)
    assert re.search(
        r"worker1 -> .* is stuck at t = 0\.5.* link worker1 -> switch has no bandwidth", found.peers.stopped
    )
    assert min(found.loop.gradients) > 10 and found.peers.now > 0.5
    assert found.loop.spent().sum(axis=1) == pytest.approx([found.peers.now] * 4, rel=1e-12)


def test_a_link_that_is_dead_for_good_leaves_its_worker_behind_where_nobody_waits_for_it():
    workload = quadratic()
    found = run(method("async", workload), workload, settings(conditions=(DEAD,)), gradients=1000)
    assert found.peers.stopped is None and sum(found.loop.gradients) >= 1000
    assert found.loop.gradients[1] < min(count for rank, count in enumerate(found.loop.gradients) if rank != 1) - 100


def test_pauses_stretch_the_work_of_every_worker():
    plain, paused = (
        run(algorithm("swarm-sgd", workload), workload, settings(conditions=pauses))
        for workload, pauses in ((quadratic(), ()), (quadratic(), (Pauses(0.1, 0.05),)))
    )
    assert 1.5 < paused.peers.now / plain.peers.now < 3


def test_links_count_the_bytes_and_messages_that_arrived():
    workload = quadratic()
    found = run(algorithm("async-sgd", workload), workload, settings(sigma=0.2), gradients=200)
    peers = found.peers
    assert peers.sent_by_workers == peers.into_server and peers.received_by_workers == peers.out_of_server
    assert peers.link_bytes.sum() == 2 * (peers.sent_by_workers + peers.received_by_workers)
    assert np.array_equal(peers.link_bytes, peers.link_messages * 4 * workload.d)


def test_torch_is_not_needed_to_simulate_peers():
    import subprocess
    import sys

    code = "import sys, simgmc.experiment.under_way.event_loop; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_bounds_hold_late_in_a_long_run_on_a_fast_network():
    names = [f"worker{rank}" for rank in range(3)]
    graph = build_topology("star", [Host(name, 1.25e10, 1.25e10, 1e-6) for name in (*names, "server")])
    cluster = ClusterSettings(
        graph, tuple(names), "server", "parameter-server", ComputeTime(1000.0), Duration(0.0), Duration(0.0),
        conditions=(Stragglers(sigma=0.5),),
    )  # fmt: skip
    workload = quadratic(workers=3)
    found = run(algorithm("async-sgd", workload), workload, cluster, gradients=300)
    assert found.peers.now > 50_000
