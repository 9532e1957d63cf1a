"""Where the tests find shared pieces and, when it is there, real data."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
