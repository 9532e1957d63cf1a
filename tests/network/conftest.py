"""Where the reference files are, and small networks that several tests use."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

REFERENCE = Path(__file__).resolve().parents[3] / "shared" / "reference"


@pytest.fixture
def reference():
    """Reads one reference file by name; skips where the files are not there."""

    def read(name: str):
        path = REFERENCE / name
        if not path.exists():
            pytest.skip(f"{path} is not there: the reference files live beside the repository")
        return json.loads(path.read_text())

    return read
