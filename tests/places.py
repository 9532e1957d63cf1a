"""Where the things of the repository lie."""

import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SCENARIOS = ROOT / "scenarios"
QUICKSTART = tomllib.loads((SCENARIOS / "quickstart.toml").read_text())
REFERENCE = ROOT / "simgmc" / "network" / "data" / "reference"
"""Measurements and exact cases that the simulated network is compared with."""
PUBLISHED_DATA = ROOT.parent / "shared" / "data"
"""Published data sets, on machines that have them."""
