"""Where the reference files are, and small networks that several tests use."""

from __future__ import annotations

import json

import pytest

from simgmc.network.topology.catalogue import build
from tests.network.drawn_networks import hosts
from tests.places import REFERENCE


@pytest.fixture
def reference():
    """Reads one of the shipped reference files by name."""

    def read(name: str):
        path = REFERENCE / name
        return json.loads(path.read_text())

    return read


@pytest.fixture
def drawn(tmp_path):
    """The graph of a text in a file of that name."""

    def draw(text, name="net.graphml", workers=2, **options):
        (tmp_path / name).write_text(text)
        return build("file", hosts(workers, False, options.pop("access", None)), file=str(tmp_path / name), **options)

    return draw
