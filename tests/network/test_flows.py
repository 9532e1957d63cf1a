"""Fluid flows against closed forms, exact cases and an independent rational solver."""

from __future__ import annotations

import random

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.network.flows.flows import BandwidthChange, Flow, completion_times
from simgmc.network.flows.fluid import FluidNetwork, StuckError, Transfer
from simgmc.network.flows.sharing import MaxMin
from simgmc.network.topology.catalogue import Host, add_link, star
from simgmc.network.topology.routing import Links
from simgmc.network.validation.reference import max_min_case
from tests.network import rational_solver

EXACT = 1e-9


def small_star(hosts=4, up=1e6, down=2e6, latency=0.01):
    return star([Host(f"h{i}", up, down, latency) for i in range(hosts)])


@pytest.mark.parametrize("latency", ["first", "last"])
def test_every_max_min_reference_case_agrees_to_1e_9(reference, latency):
    for case in reference("max_min_cases.json")["cases"]:
        expected = case["expected"]
        if latency == "last":
            expected = case.get("expected_latency_last", expected)
        assert max_min_case(case, latency) == pytest.approx(expected, rel=EXACT), case["name"]


@pytest.mark.parametrize("latency", ["first", "last"])
def test_a_single_flow_takes_latency_plus_bytes_over_the_slowest_link(latency):
    assert completion_times(small_star(), [Flow("h0", "h1", 5e6)], latency) == pytest.approx([0.02 + 5.0], rel=EXACT)


def test_flows_into_one_server_share_its_downlink():
    flows = [Flow(f"h{i}", "h0", 1e6 * i) for i in (1, 2, 3)]
    expected = [0.02 + sum(min(i, j) for j in (1, 2, 3)) * 1e6 / 2e6 for i in (1, 2, 3)]
    assert completion_times(small_star(up=9e6), flows) == pytest.approx(expected, rel=EXACT)


def test_many_flows_into_one_server_end_in_the_order_of_their_sizes_each_when_it_should():
    sizes = [1e6 * (1 + i * 7 % 40 // 2) for i in range(40)]
    found = completion_times(small_star(41, up=9e6), [Flow(f"h{i + 1}", "h0", size) for i, size in enumerate(sizes)])
    expected = [0.02 + sum(min(size, other) for other in sizes) / 2e6 for size in sizes]
    assert found == pytest.approx(expected, rel=EXACT)


def test_many_flows_that_begin_together_and_meet_on_no_link_end_each_at_its_own_time():
    sizes = [1e6 * (1 + i * 7 % 40 // 2) for i in range(40)]
    found = completion_times(small_star(80), [Flow(f"h{2 * i}", f"h{2 * i + 1}", size) for i, size in enumerate(sizes)])
    assert found == pytest.approx([0.02 + size / 1e6 for size in sizes], rel=EXACT)


def test_a_sender_is_free_to_send_on_while_bytes_are_in_flight():
    graph = small_star(latency=0.5)
    links = Links(graph)
    network = FluidNetwork(links)

    class Sender:
        """Sends a second flow as soon as the first has left."""

        landed: dict[int, float] = {}

        def started(self, index, time): ...

        def left(self, index, time):
            if index == 0:
                network.start(Transfer(self, 1, links.route("h0", "h1"), 1.0, 1e6, float("inf")))

        def arrived(self, index, time):
            self.landed[index] = time

    network.start(Transfer(Sender(), 0, links.route("h0", "h1"), 1.0, 1e6, float("inf")))
    network.run()
    assert Sender.landed == pytest.approx({0: 2.0, 1: 3.0}, rel=EXACT)


def test_a_rate_cap_leaves_the_rest_to_the_others():
    flows = [Flow("h0", "h1", 1e6, rate_cap=1e5), Flow("h0", "h2", 9e5)]
    assert completion_times(small_star(), flows) == pytest.approx([10.02, 1.02], rel=EXACT)


def test_a_bandwidth_change_takes_effect_at_its_time():
    changes = [BandwidthChange(1.0, "h0", "switch", 1e5), BandwidthChange(2.0, "h0", "switch", 1e6)]
    assert completion_times(small_star(), [Flow("h0", "h1", 2e6)], changes=changes) == pytest.approx([2.92], rel=EXACT)


def test_a_link_without_bandwidth_for_a_while_only_pauses():
    changes = [BandwidthChange(1.0, "h0", "switch", 0), BandwidthChange(5.0, "h0", "switch", 1e6)]
    assert completion_times(small_star(), [Flow("h0", "h1", 2e6)], changes=changes) == pytest.approx([6.02], rel=EXACT)


def test_a_link_without_a_limit_has_one_from_the_change_on():
    graph = small_star(up=float("inf"), down=float("inf"))
    found = completion_times(
        graph, [Flow("h0", "h1", 1e6, start=1.0)], changes=[BandwidthChange(0.5, "h0", "switch", 1e6)]
    )
    assert found == pytest.approx([2.02], rel=EXACT)


@pytest.mark.parametrize("change", [(-1.0, 1e6), (float("nan"), 1e6), (1.0, -1.0), (1.0, float("nan"))])
def test_a_change_at_no_time_or_to_no_bandwidth_is_refused(change):
    time, bandwidth = change
    with pytest.raises(SimgmcError, match="link h0 -> switch from .* on: both must be at least 0"):
        completion_times(small_star(), [], changes=[BandwidthChange(time, "h0", "switch", bandwidth)])


@pytest.mark.parametrize("bandwidth", [1e6, float("inf")])
def test_a_flow_that_may_send_nothing_is_stuck_also_where_no_link_limits_it(bandwidth):
    flow = Flow("h0", "h1", 1e6, start=2.0, rate_cap=0.0)
    with pytest.raises(StuckError, match=r"h0 -> h1.*t = 2 s.*rate cap is 0"):
        completion_times(small_star(up=bandwidth, down=bandwidth), [flow])


def test_delays_count_from_the_last_thing_waited_for():
    flows = [Flow("h0", "h1", 1e6), Flow("h1", "h0", 1e6, start=0.5, after=[0], delay=0.25)]
    assert completion_times(small_star(), flows) == pytest.approx([1.02, 1.02 + 0.25 + 1.02], rel=EXACT)


def test_an_empty_flow_and_a_flow_to_oneself_cost_latency_or_nothing():
    flows = [Flow("h0", "h1", 0), Flow("h0", "h0", 1e9)]
    assert completion_times(small_star(), flows) == pytest.approx([0.02, 0.0], rel=EXACT)


def test_zero_bandwidth_is_reported_with_time_and_hosts():
    graph = small_star()
    graph["h0"]["switch"]["bandwidth"] = 0.0
    with pytest.raises(StuckError, match=r"h0 -> h1.*t = 2 s.*h0 -> switch has no bandwidth") as error:
        completion_times(graph, [Flow("h0", "h1", 1e6, start=2.0)])
    assert error.value.time == 2.0


def test_a_missing_route_is_reported_when_the_flow_would_start():
    graph = small_star()
    graph.remove_edge("switch", "h1")
    with pytest.raises(StuckError, match=r"h0 -> h1.*t = 3 s.*no route"):
        completion_times(graph, [Flow("h0", "h1", 1e6, start=3.0)])


def test_flows_that_wait_in_a_circle_are_reported():
    flows = [Flow("h2", "h3", 1e6), Flow("h0", "h1", 1e6, after=[2]), Flow("h1", "h0", 1e6, after=[1])]
    with pytest.raises(StuckError, match=r"t = 1.02 s: it waits for .*h1 -> h0.*waits for .*h0 -> h1"):
        completion_times(small_star(), flows)
    with pytest.raises(StuckError, match="waits for itself"):
        completion_times(small_star(), [Flow("h0", "h1", 1e6, after=[0])])


@pytest.mark.parametrize(
    "flow",
    [
        Flow("h0", "h1", -1),
        Flow("h0", "h9", 1),
        Flow("h0", "h1", float("nan")),
        Flow("h0", "h1", 1, after=[7]),
        Flow("h0", "h1", 1, route=[]),
    ],
)
def test_impossible_flows_are_refused(flow):
    with pytest.raises(SimgmcError):
        completion_times(small_star(), [flow])


# random scenarios ------------------------------------------------------------

bandwidths = st.integers(1, 50).map(lambda n: n * 1e5)
latencies = st.integers(0, 20).map(lambda n: n * 1e-3)


@st.composite
def scenarios(draw):
    """Links, and flows over random subsets of them, some waiting for earlier ones."""
    links = draw(st.lists(st.tuples(bandwidths, latencies), min_size=1, max_size=6))
    flows = []
    for index in range(draw(st.integers(1, 9))):
        route = draw(st.lists(st.integers(0, len(links) - 1), min_size=1, max_size=3, unique=True))
        flows.append(
            {
                "route": tuple(route),
                "nbytes": draw(st.integers(1, 40)) * 1e5,
                "start": draw(st.sampled_from([0.0, 0.0, 0.1, 0.25, 1.0])),
                "after": draw(st.lists(st.integers(0, index - 1), max_size=2, unique=True)) if index else [],
                "delay": draw(st.sampled_from([0.0, 0.0, 0.05])),
                "cap": draw(st.sampled_from([None, None, 1e5, 3e6])),
            }
        )
    return links, flows


def as_graph(links):
    graph = nx.DiGraph()
    for index, (bandwidth, latency) in enumerate(links):
        add_link(graph, f"in{index}", f"out{index}", bandwidth, latency)
    return graph


def as_flow(flow, order=None):
    after = flow["after"] if order is None else [order[i] for i in flow["after"]]
    route = [(f"in{link}", f"out{link}") for link in flow["route"]]
    return Flow("a", "b", flow["nbytes"], flow["start"], after, flow["delay"], flow["cap"], route)


@given(scenarios(), st.sampled_from(["first", "last"]))
@settings(max_examples=150, deadline=None)
def test_random_scenarios_agree_with_rational_arithmetic(scenario, latency):
    links, flows = scenario
    found = completion_times(as_graph(links), [as_flow(flow) for flow in flows], latency)
    assert found == pytest.approx(
        [float(t) for t in rational_solver.completion_times(links, flows, latency)], rel=EXACT
    )


@given(scenarios(), st.randoms(use_true_random=False))
@settings(max_examples=100, deadline=None)
def test_the_order_of_ties_does_not_matter(scenario, shuffle: random.Random):
    links, flows = scenario
    order = list(range(len(flows)))
    shuffle.shuffle(order)
    place = {old: new for new, old in enumerate(order)}
    found = completion_times(as_graph(links), [as_flow(flow) for flow in flows])
    shuffled = completion_times(as_graph(links), [as_flow(flows[old], place) for old in order])
    assert [shuffled[place[old]] for old in range(len(flows))] == pytest.approx(found, rel=EXACT)


@given(scenarios(), st.lists(st.tuples(st.integers(0, 5), st.integers(1, 30), bandwidths), max_size=5))
@settings(max_examples=100, deadline=None)
def test_rates_are_max_min_fair_time_never_runs_backwards_and_bytes_are_conserved(scenario, changes):
    links, flows = scenario
    graph = as_graph(links)
    table = Links(graph)
    network = FluidNetwork(table)

    class Run:
        def __init__(self):
            self.done = 0

        def started(self, index, time): ...

        def left(self, index, time): ...

        def arrived(self, index, time):
            self.done += 1

        def describe(self, index):
            return str(index)

    run = Run()
    transfers = []
    for index, flow in enumerate(flows):
        cap = float("inf") if flow["cap"] is None else flow["cap"]
        transfers.append(Transfer(run, index, flow["route"], 0.01, flow["nbytes"], cap))
        network.at(flow["start"], network.start, transfers[-1])
    for link, tick, bandwidth in changes:
        network.at(tick * 0.05, network.set_bandwidth, (link % len(links), bandwidth))
    moved = dict.fromkeys(transfers, 0.0)
    before, rates = 0.0, {}
    while network.next_time < float("inf"):
        network.advance()
        assert network.now >= before
        for transfer, rate in rates.items():
            moved[transfer] += rate * (network.now - before)
        before, rates = network.now, dict(network.rates())
        load = [sum(rate for t, rate in rates.items() if link in t.route) for link in range(len(links))]
        for link, used in enumerate(load):
            assert used <= network.capacity[link] * (1 + EXACT)
        anew = MaxMin(table)
        anew.capacity = network.capacity
        for transfer in rates:
            anew.add(Transfer(run, transfer.index, transfer.route, 0.0, 1.0, transfer.cap))
        anew._start_over()
        filled = {flow.index: flow.low for members in anew.on for flow in members}
        for transfer, rate in rates.items():
            assert rate == pytest.approx(filled[transfer.index], rel=EXACT), "not what filling anew gives"
            limited = rate >= transfer.cap * (1 - EXACT)
            for link in transfer.route:
                full = load[link] >= network.capacity[link] * (1 - EXACT)
                largest = rate >= max(r for t, r in rates.items() if link in t.route) * (1 - EXACT)
                limited = limited or (full and largest)
            assert limited, "a flow could be raised without lowering a smaller one"
    assert run.done == len(flows)
    assert [moved[t] for t in transfers] == pytest.approx([flow["nbytes"] for flow in flows], rel=1e-8)


class Silent:
    """Whoever owns flows and does not care what becomes of them."""

    def started(self, index, time): ...

    def left(self, index, time): ...

    def arrived(self, index, time): ...

    def describe(self, index):
        return str(index)


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=12, deadline=None)
def test_many_flows_over_long_routes_have_the_rates_that_filling_each_flow_by_itself_gives(seed):
    """Starts, ends, withdrawals and changes of bandwidth fall together, equal bandwidths tie, and most links limit
    nobody: what is not looked at anew must not have changed."""
    draw = random.Random(seed)
    links = [(draw.choice([1e6, 1e6, 2e6, 7e6]), 0.0) for _ in range(24)]
    network = FluidNetwork(Links(as_graph(links)))
    transfers = []
    for index in range(60):
        first, length = draw.randrange(24), draw.choice([1, 2, 4, 12])
        route = tuple((first + step) % 24 for step in range(length))
        cap = draw.choice([float("inf"), float("inf"), 3e5])
        transfers.append(Transfer(Silent(), index, route, 0.01, draw.choice([1e5, 1e6, draw.random() * 1e6]), cap))
        network.at(draw.randrange(8) * 0.25, network.start, transfers[-1])
    for _ in range(8):
        network.at(draw.randrange(12) * 0.25, network.set_bandwidth, (draw.randrange(24), draw.choice([5e5, 1e6, 9e6])))
    for transfer in draw.sample(transfers, 4):
        network.at(2.25, network.withdraw, transfer)
    while network.next_time < float("inf"):
        network.advance()
        if draw.random() < 0.8:
            continue
        rates = dict(network.rates())
        caps = {transfer: transfer.cap for transfer in rates if transfer.cap < float("inf")}
        expected = rational_solver.fair_rates(network.capacity, {one: one.route for one in rates}, caps)
        assert rates == pytest.approx(expected, rel=EXACT)
    assert network.delivered >= 56


def test_a_link_that_widens_at_the_instant_a_flow_begins_is_not_held_to_what_it_was():
    network = FluidNetwork(Links(as_graph([(3e6, 0.0), (10e6, 0.0), (6e6, 0.0)])))
    routes = [(1, 2), (0, 1)]
    first, second = (Transfer(Silent(), n, route, 0.0, 1e9, float("inf")) for n, route in enumerate(routes))
    network.start(first)
    network.update_rates()
    network.start(second)
    network.set_bandwidth((0, 10e6))
    network.update_rates()
    assert {flow.index: rate for flow, rate in network.rates()} == {0: 5e6, 1: 5e6}
