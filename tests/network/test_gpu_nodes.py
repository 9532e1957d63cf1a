"""Nodes of several devices: cards side by side, NCCL's tree, and how they are said in a scenario."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.errors import SimgmcError
from simgmc.network import collectives
from simgmc.network.collectives.options import Options
from simgmc.network.conditions.work import Duration
from simgmc.network.exchanges.execution import Execution, run_alone
from simgmc.network.exchanges.placement import Placement
from simgmc.network.flows.connections import Connections
from simgmc.network.flows.fluid import FluidNetwork
from simgmc.network.topology.catalogue import Host, build, groups, worker_names
from simgmc.network.topology.routing import Links
from simgmc.network.validation.validate import validate_file
from tests.network.exchanges import execute, finish_times, message, uniform
from tests.places import REFERENCE

EXACT = 1e-9
FREE = Duration(0.0)


def network(nodes, devices, bus, card, cards=1, latency=0.0, card_latency=0.0, striping="all"):
    hosts = [Host(name, bus, bus, latency) for name in worker_names(nodes * devices)]
    return build(
        "gpu-nodes",
        hosts,
        devices=devices,
        cards=cards,
        card_bandwidth=card,
        card_latency=card_latency,
        striping=striping,
    )


def run(graph, name, nbytes, **options):
    """An exchange of all workers, ready at once: the execution, and when each had everything."""
    names = [node for node in graph if graph.nodes[node]["kind"] == "host"]
    links = Links(graph)
    chosen = Options(groups=groups(graph, names), **options)
    schedule = collectives.schedule(name, message([nbytes] * len(names)), FREE, chosen)
    execution = run_alone(schedule, Placement(schedule.structure, names, links))
    return execution, finish_times(execution)


@pytest.mark.parametrize("name", ["ring", "nccl-tree", "two-level", "halving-doubling", "double-binary-tree"])
def test_messages_striped_over_cards_take_as_long_as_over_one_card_of_their_sum(name):
    several, ends = run(network(2, 4, 300e9, 25e9, 4, 1e-6, 2e-6), name, 10**8)
    one, other = run(network(2, 4, 300e9, 100e9, 1, 1e-6, 2e-6), name, 10**8)
    assert ends == pytest.approx(other, rel=EXACT)
    sent = several.placement.over_links(several.schedule.nbytes)
    links = several.placement.links
    over = [sent[links.index(f"node0.card{card}", f"rail{card}")] for card in range(4)]
    whole = one.placement.over_links(one.schedule.nbytes)[one.placement.links.index("node0.card0", "rail0")]
    assert over == pytest.approx([whole / 4] * 4, rel=EXACT)


def test_by_hash_a_message_takes_one_card_and_many_pairs_take_all():
    graph = network(2, 8, 1e9, 1e8, 4, striping="hash")
    links = Links(graph)
    pairs = [(f"worker{a}", f"worker{8 + b}") for a in range(8) for b in range(8)]
    assert all(len(links.ways(*pair)) == 1 for pair in pairs)
    used = {links.names[link][1] for pair in pairs for link in links.ways(*pair)[0]}
    assert {f"rail{card}" for card in range(4)} <= used


def test_messages_of_one_connection_go_one_after_the_other_over_all_cards():
    graph = network(2, 1, 1e9, 1e6, 4, 0.001, 0.002)
    links, names = Links(graph), worker_names(2)
    fluid = FluidNetwork(links)
    connections = Connections()
    schedule = collectives.schedule("ring-all-gather", message([4_000_000, 0], summable=False), FREE, Options(slices=1))
    runs = [
        Execution(fluid, schedule, Placement(schedule.structure, names, links), connections=connections)
        for _ in range(2)
    ]
    for execution in runs:
        execution.begin()
        for participant in range(2):
            execution.ready(participant)
    fluid.run()
    assert [max(execution.landed) for execution in runs] == pytest.approx([1.006, 2.006], rel=EXACT)


@given(
    st.integers(1, 4).map(lambda half: 2 * half),
    st.integers(1, 10**6).map(lambda items: 8 * items),
    st.floats(1e4, 1e9),
    st.floats(0.01, 0.1),
    st.floats(0, 1e-3),
    st.floats(0, 1e-2),
    st.integers(1, 4),
)
def test_nccls_tree_on_two_nodes_is_two_chains_and_one_exchange(devices, nbytes, bus, share, near, far, cards):
    # Slow and far enough that a chain ends while the exchange between the nodes is still under way.
    card, far = share * bus, far + devices * near
    graph = network(2, devices, bus, card / cards, cards, near, far)
    _, ends = run(graph, "nccl-tree", nbytes, slices=1)
    inside, between = 2 * near, 2 * near + 2 * far
    expected = 2 * (devices - 1) * (inside + nbytes / (2 * bus)) + 2 * (between + nbytes / (2 * card))
    assert max(ends) == pytest.approx(expected, rel=EXACT)


def test_between_two_nodes_of_eight_nccls_tree_takes_half_the_rings_time():
    graph = network(2, 8, 300e9, 25e9, 4, 1e-6, 2e-6)
    ring, tree, flat = (max(run(graph, name, 2**30)[1]) for name in ("ring", "nccl-tree", "double-binary-tree"))
    assert ring == pytest.approx(2 * 15 / 16 * 2**30 / 100e9, rel=0.01)
    assert 2**30 / 100e9 < tree < 0.58 * ring < ring < flat


@given(st.integers(2, 9), st.integers(1, 10**5).map(lambda items: 4 * items))
def test_nccls_tree_on_nodes_of_one_device_is_the_double_binary_tree(workers, nbytes):
    alone = Options(groups=tuple((worker,) for worker in range(workers)))
    tree = collectives.schedule("nccl-tree", message([nbytes] * workers), FREE, alone)
    flat = collectives.schedule("double-binary-tree", message([nbytes] * workers), FREE)
    machines = uniform(workers, 1e6, 0.001)
    assert finish_times(execute(tree, machines)) == finish_times(execute(flat, machines))


def test_within_one_node_nccls_tree_is_a_chain_each_way():
    _, ends = run(network(1, 4, 1e6, 1e6), "nccl-tree", 2_000_000, slices=1)
    assert max(ends) == pytest.approx(2 * 3 * 1.0, rel=EXACT)


def test_published_nccl_all_reduces_on_nodes_of_several_devices_are_met():
    rows = validate_file(REFERENCE / "real_nccl_nodes.json").rows
    pairs = list(zip(rows[::2], rows[1::2]))
    assert [(ring.algorithm, tree.algorithm) for ring, tree in pairs] == [("ring", "tree")] * 4
    ring, tree = pairs[0]
    assert (ring.nodes, ring.devices, tree.measured) == (2, 8, ring.measured / 2)
    assert tree.simulated / ring.simulated == pytest.approx(0.5, abs=0.05)
    assert max(abs(row.error) for pair in pairs[:3] for row in pair) < 0.08
    assert np.mean([abs(row.error) for row in rows if row.headline]) < 0.05


@pytest.mark.parametrize(
    "options, says",
    [
        ({"devices": 0, "card_bandwidth": 1e9}, "devices = 0: must be at least 1"),
        ({"devices": 2, "card_bandwidth": 1e9, "cards": 100}, "cards = 100: must be at least 1 and at most 64"),
    ],
)
def test_nodes_that_cannot_be_are_refused(options, says):
    with pytest.raises(SimgmcError, match=says):
        build("gpu-nodes", [Host("worker0", 1e9, 1e9, 0.0)], **options)
