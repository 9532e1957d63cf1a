"""Checking simgmc against reference files: exact cases to 1e-9, measurements as they are.

Files are told apart by what they hold: max-min cases (``cases`` with ``links``), sliced
rings (``cases`` with ``slices``), measured collectives (``rows``) and measured runs of local steps and synchronisations
(``rows`` with ``H``).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from simgmc.core.errors import SimgmcError, show_value, suggestion
from simgmc.core.files import read_text
from simgmc.network.flows.fluid import StuckError
from simgmc.network.validation.measured import MODELLED, HeldOut, fits, headline, simulated_seconds
from simgmc.network.validation.reference import max_min_case, sliced_ring_case
from simgmc.network.validation.reference_format import check_document
from simgmc.network.validation.utilisation import UtilisationReport, utilisation_report

_SHOWN = 10
"""Cases that a line names."""
TOLERANCE = 1e-9
"""Largest relative error an exact case may have."""


@dataclass(frozen=True)
class MeasuredRow:
    """One measurement beside what simgmc computes for it."""

    collective: str
    library: str
    nodes: int
    nbytes: int
    setting: str
    measured: float
    """Seconds."""
    simulated: float
    """Seconds, no calibration."""
    headline: bool
    """An NCCL all-reduce on a stated network: what the collectives are held to."""
    stated: bool = True
    """Whether bandwidth and latency are known, not what the cloud happened to give."""
    fitted: float | None = None
    """Seconds with overheads fitted on the rows of its kind with the fewest nodes, where that applies."""
    algorithm: str = ""
    """Of an all-reduce on nodes of several devices: "ring" or "tree"."""
    devices: int = 1
    """Devices of each node."""

    @property
    def words(self) -> str:
        """The collective, and its algorithm where the row says it."""
        return f"{self.collective} {self.algorithm}".rstrip()

    @property
    def nodes_words(self) -> str:
        """How many nodes, of how many devices where the row says it."""
        return f"{self.nodes} x {self.devices}" if self.algorithm else str(self.nodes)

    @property
    def error(self) -> float:
        """Relative error, no calibration."""
        return self.simulated / self.measured - 1.0


@dataclass(frozen=True)
class FileReport:
    """One reference file, computed."""

    file: str
    kind: str
    """"max-min", "rings", "measured" or "utilisation"."""
    values: dict | list
    """Every computed value: ``{case: {"first" | "last": {flow: seconds}}}``, or a list in the
    file's order; None for what can never finish or is not modelled."""
    largest_error: float
    """Largest relative error of an exact file; of the headline rows of a measured one."""
    worst: str
    """Where that is."""
    mean_error: float = 0.0
    """Mean absolute relative error of a measured file's headline rows."""
    compared: int = 0
    """Values that the file states and that were computed too."""
    left_out: tuple[str, ...] = ()
    """What of the file was not compared, and why, a line each."""
    document_nodes: tuple[int, ...] = ()
    """Nodes of every row of a measured file, those left out too."""
    rows: tuple[MeasuredRow, ...] = ()
    fits: tuple[HeldOut, ...] = ()
    utilisation: UtilisationReport | None = None

    @property
    def exact(self) -> bool:
        """Whether the file holds exact cases."""
        return self.kind in ("max-min", "rings")

    @property
    def passed(self) -> bool:
        """False for an exact file with an error above the tolerance, and where nothing could be compared."""
        return self.compared > 0 and (not self.exact or self.largest_error <= TOLERANCE)


@dataclass(frozen=True)
class Validation:
    """All files, computed."""

    reports: tuple[FileReport, ...] = field(default_factory=tuple)

    @property
    def passed(self) -> bool:
        """False if any exact case is off by more than the tolerance, or a file holds nothing that could be compared."""
        return all(report.passed for report in self.reports)

    def as_json(self) -> dict:
        """``{file: values}``, see :attr:`FileReport.values`."""
        return {report.file: report.values for report in self.reports}


def validate(files: Sequence[str | Path]) -> Validation:
    """Compute everything that the files ask for."""
    return Validation(tuple(validate_file(file) for file in files))


def validate_file(file: str | Path) -> FileReport:
    """Compute one reference file."""
    text = read_text(file, "reference file")
    try:
        document = json.loads(text)
    except ValueError as error:
        raise SimgmcError(f"{file} is not JSON: {error}") from None
    except RecursionError:
        raise SimgmcError(f"{file} is nested deeper than any reference file") from None
    kind = kind_of(document)
    if kind is None:
        raise SimgmcError(f"{file} holds no reference cases: it needs 'cases' with 'links' or with 'slices', or 'rows'")
    compute = {"max-min": _max_min, "rings": _rings, "measured": _measured, "utilisation": _utilisation}[kind]
    check_document(document, kind, str(file), MODELLED)
    return compute(str(file), document)


def kind_of(document: object) -> str | None:
    """Which of the formats a document has; None: none of them."""
    if not isinstance(document, dict):
        return None
    if isinstance(document.get("rows"), list):
        runs = any(isinstance(row, dict) and "H" in row for row in document["rows"])
        return "utilisation" if runs else "measured"
    cases = document.get("cases")
    if not isinstance(cases, list) or not all(isinstance(case, dict) for case in cases):
        return None
    if all("links" in case for case in cases):
        return "max-min"
    return "rings" if all("slices" in case for case in cases) else None


def _relative(found: float, expected: float) -> float:
    error = abs(found - expected) / abs(expected) if expected else abs(found)
    # Nothing equals NaN: a case that expects it fails.
    return error if error == error else float("inf")


def _max_min(file: str, document: dict) -> FileReport:
    values: dict[str, dict] = {}
    largest, worst, compared = 0.0, "", 0
    silent = [case["name"] for case in document["cases"] if not _expects(case)]
    for case in document["cases"]:
        values[case["name"]] = {latency: _case(case, latency) for latency in ("first", "last")}
        expected = {"first": case.get("expected")}
        expected["last"] = case.get("expected_latency_last", expected["first"])
        for latency, times in expected.items():
            for flow, seconds in (times or {}).items():
                found = values[case["name"]][latency][flow]
                # A flow that cannot finish has no time; a case may expect just that.
                error = _relative(found, seconds) if None not in (found, seconds) else float(found is not seconds)
                compared += 1
                if error >= largest:
                    largest, worst = error, f"{case['name']}, {flow}, latency {latency}"
    return FileReport(
        file, "max-min", values, largest, worst, compared=compared, left_out=_without("expected times", silent)
    )


def _expects(case: dict) -> bool:
    return bool(case.get("expected") or case.get("expected_latency_last"))


def _without(what: str, names: Sequence[object]) -> tuple[str, ...]:
    """The line on cases that state nothing."""
    if not names:
        return ()
    shown = ", ".join(map(str, names[:_SHOWN])) + (" ..." if len(names) > _SHOWN else "")
    return (f"{len(names)} of them without {what}: {shown}",)


def _case(case: dict, latency: str) -> dict[str, float | None]:
    try:
        return dict(max_min_case(case, latency))
    except StuckError:
        return {flow["id"]: None for flow in case["flows"]}


def _rings(file: str, document: dict) -> FileReport:
    values: list[float] = []
    largest, worst, compared = 0.0, "", 0
    silent = [number for number, case in enumerate(document["cases"]) if case.get("makespan") is None]
    for number, case in enumerate(document["cases"]):
        values.append(sliced_ring_case(case))
        if case.get("makespan") is not None:
            error = _relative(values[-1], case["makespan"])
            compared += 1
            if error >= largest:
                largest, worst = (
                    error,
                    f"case {number} ({case.get('kind', 'ring')}, {case['nodes']} nodes, {case['slices']} slices)",
                )
    return FileReport(file, "rings", values, largest, worst, compared=compared, left_out=_without("a makespan", silent))


def _measured(file: str, document: dict) -> FileReport:
    rows = document["rows"]
    held_out = fits(rows)
    fitted = {place: seconds for one in held_out for place, seconds in one.seconds.items()}
    table = []
    values: list[float | None] = []
    unknown: dict[str, list[int]] = {}
    unmeasured = []
    for number, row in enumerate(rows):
        if row["collective"] not in MODELLED:
            unknown.setdefault(row["collective"], []).append(number)
        elif row.get("measured_s") is None:
            unmeasured.append(number)
        if row["collective"] not in MODELLED or row.get("measured_s") is None:
            values.append(None)
            continue
        table.append(
            MeasuredRow(
                row["collective"],
                row["lib"],
                row["nodes"],
                row["bytes"],
                row.get("setting") or "",
                row["measured_s"],
                simulated_seconds(row),
                headline(row),
                row["latency_s"] is not None and row["bandwidth_Bps"] is not None and not row.get("calibrated"),
                fitted.get(number),
                row.get("algorithm") or "",
                row.get("devices") or 1,
            )
        )
        values.append(table[-1].simulated)
    held = [row for row in table if row.headline]
    worst = max(held, key=lambda row: abs(row.error), default=None)
    return FileReport(
        file,
        "measured",
        values,
        abs(worst.error) if worst else 0.0,
        f"{worst.library} {worst.words}, {worst.nodes_words} nodes, {worst.setting}"
        if worst
        else "no NCCL all-reduce rows",
        sum(abs(row.error) for row in held) / len(held) if held else 0.0,
        len(table),
        (*(_not_modelled(name, numbers) for name, numbers in unknown.items()), *_without("measured_s", unmeasured)),
        tuple(row.get("nodes", 0) for row in rows),
        tuple(table),
        tuple(held_out),
    )


def _utilisation(file: str, document: dict) -> FileReport:
    found = utilisation_report(document["rows"])
    held = max(found.held_out, key=lambda row: abs(row.points_off), default=None)
    left = len(document["rows"]) - len(found.rows)
    return FileReport(
        file,
        "utilisation",
        [row.fitted for row in found.rows],
        found.largest,
        f"points of utilisation, {held.algorithm}, H = {held.local_steps}" if held else "no held-out rows",
        compared=len(found.rows),
        left_out=(f"{left} of them, of which neither bandwidth nor a run with H = 1 is known",) if left else (),
        utilisation=found,
    )


def _not_modelled(name: str, numbers: Sequence[int]) -> str:
    """The line on rows of a collective that there is no model of."""
    many = f"{len(numbers)} row{'s' * (len(numbers) > 1)}"
    return f"{many} of {show_value(name)}, of which there is no model; {suggestion(name, MODELLED)}"
