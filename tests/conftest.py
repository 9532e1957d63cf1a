"""What every test runs under."""

from __future__ import annotations

import signal

import pytest

# The table of identities is printed by the process that collects the reports, whatever it runs itself.
pytest_plugins = ["tests.algorithms.identity_table"]

# A shell without job control starts what is to run in the background with Ctrl-C ignored, and
# children inherit that; the tests of stopping a run send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module")
def without_plots():
    """Runs draw none, while a module's tests run: they take seconds a run and have tests of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simgmc.results.report.draw_plots", lambda *arguments, **options: [])
        yield
