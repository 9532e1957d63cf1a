"""Where the reference files are, and small networks that several tests use."""

from __future__ import annotations

import json

import pytest

from tests.places import REFERENCE


@pytest.fixture
def reference():
    """Reads one of the shipped reference files by name."""

    def read(name: str):
        path = REFERENCE / name
        return json.loads(path.read_text())

    return read
