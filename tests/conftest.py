"""What every test runs under."""

from __future__ import annotations

import functools
import os
import signal

import hypothesis
import pytest

# The table of identities is printed by the process that collects the reports, whatever it runs itself.
pytest_plugins = ["tests.algorithms.identity_table"]

# Where a test does not say how many examples of a property it tries.
hypothesis.settings.register_profile("suite", max_examples=50, deadline=None)
hypothesis.settings.load_profile("suite")

# A shell without job control starts what is to run in the background with Ctrl-C ignored, and
# children inherit that; the tests of stopping a run send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


# What is printed is as wide as off a terminal, also where the shell tells how wide its window is.
os.environ.pop("COLUMNS", None)

# Each of several test processes has a core of its own: on problems this small, more threads only wait for each other.
_worker = os.environ.get("PYTEST_XDIST_WORKER", "").removeprefix("gw")
if _worker and hasattr(os, "sched_setaffinity"):
    _cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {_cores[int(_worker) % len(_cores)]})


@pytest.fixture(scope="session", autouse=True)
def _digits_are_read_once():
    """Hundreds of short runs train on them; reading the file takes as long as ten of their rounds."""
    import sklearn.datasets  # here, as it takes a second that only these runs need

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sklearn.datasets, "load_digits", functools.cache(sklearn.datasets.load_digits))
        yield


@pytest.fixture
def without_pictures(monkeypatch):
    """Figures are made and their files written, but nothing is drawn into them, which takes longest."""
    monkeypatch.setattr("matplotlib.figure.Figure.savefig", lambda self, stream, **options: stream.write(b"blank"))


@pytest.fixture(scope="session", autouse=True)
def _nothing_is_done_beside():
    """All is done in the process of the test, with what that patches; what is done beside has tests of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simgmc.core.processes.side_by_side.usable_cores", lambda: 1)
        yield


@pytest.fixture(scope="session", autouse=True)
def _runs_draw_nothing():
    """Figures take seconds a run and have tests of their own; a run that is to draw them asks for ``with_plots``."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("simgmc.results.report.draw_plots", lambda *arguments, **options: {})
        patch.setattr("simgmc.experiment.answers.told.write_page", lambda *arguments: None)
        yield


@pytest.fixture
def with_plots(monkeypatch):
    """Runs draw their figures."""
    from simgmc.results.figures.plots import draw_plots  # here, as matplotlib takes a while to load

    monkeypatch.setattr("simgmc.results.report.draw_plots", draw_plots)
