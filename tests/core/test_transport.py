"""What carries a method's messages, as a key and as text."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simgmc.core.transport import Kind, Transport
from simgmc.network.collectives.catalogue import COLLECTIVES

GRAPHS = st.text("abcdefghijklmnopqrstuvwxyz-() 0123456789", min_size=1).map(str.strip).filter(bool)


@given(st.sampled_from([kind for kind in get_args(Kind) if kind != "collective"]), GRAPHS)
def test_a_graph_is_read_back_from_its_text(kind, name):
    assert Transport.read(str(Transport(kind, name))) == Transport(kind, name)


@pytest.mark.parametrize("name", COLLECTIVES)
def test_no_collective_is_taken_for_another_transport(name):
    transport = Transport.read(name)
    assert transport == Transport("collective", name) and transport.is_collective and str(transport) == name


@pytest.mark.parametrize(
    ("text", "kind", "asynchronous"),
    [
        ("ring", "collective", False),
        ("gossip ring", "gossip", False),
        ("pairwise torus", "pairwise", True),
        ("asynchronous gossip random-regular (degree 2)", "asynchronous gossip", True),
        ("asynchronous server", "asynchronous server", True),
    ],
)
def test_the_texts_of_run_directories_keep_their_meaning(text, kind, asynchronous):
    transport = Transport.read(text)
    assert (transport.kind, transport.asynchronous, str(transport)) == (kind, asynchronous, text)
    assert transport.is_collective == (kind == "collective")
