"""Where the tests find shared pieces and, when it is there, real data."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

# The table of identities is printed by the process that collects the reports, whatever it runs itself.
pytest_plugins = ["algorithms.identity_table"]
