"""The fixture ``identity`` and the table of all identities at the end of the tests' output."""

from __future__ import annotations

from collections.abc import Callable

import pytest

_KEY = "identity"


@pytest.fixture
def identity(request: pytest.FixtureRequest) -> Callable[..., None]:
    """``identity(name, error, tolerance)``: write both into the table, then claim error <= tolerance."""

    def claim(name: str, error: float, tolerance: float = 1e-12) -> None:
        # Properties travel with the report, so the table also works where tests run in other processes.
        request.node.user_properties.append((_KEY, [name, float(error), float(tolerance)]))
        assert error <= tolerance, f"{name}: off by {error:.2e}, tolerance {tolerance:.0e}"

    return claim


def _row(item: tuple[str, object]) -> tuple[float, str]:
    """By the number that a name begins with; names without one at the end."""
    number = item[0][:4].strip()
    return float(number) if number else float("inf"), item[0]


def pytest_terminal_summary(terminalreporter) -> None:
    largest: dict[str, tuple[float, float, int]] = {}
    for outcome in ("passed", "failed"):
        for report in terminalreporter.stats.get(outcome, []):
            for key, value in getattr(report, "user_properties", ()):
                if key == _KEY and report.when == "call":
                    name, error, tolerance = value
                    before = largest.get(name, (0.0, tolerance, 0))
                    # Not max(): a NaN must show.
                    error = before[0] if error <= before[0] else error
                    largest[name] = (error, max(tolerance, before[1]), before[2] + 1)
    if not largest:
        return
    terminalreporter.section("identities: largest error along the trajectories")
    width = max(map(len, largest))
    for name, (error, tolerance, cases) in sorted(largest.items(), key=_row):
        verdict = "" if error <= tolerance else "   FAILED"
        terminalreporter.write_line(
            f"{name:{width}}  {error:8.1e}  (tolerance {tolerance:.0e}, {cases} case{'s' * (cases > 1)}){verdict}"
        )
