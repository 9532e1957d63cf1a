"""The picture of a validation: measured against simulated collectives, and the errors."""

from __future__ import annotations

from pathlib import Path

from simgmc.core.errors import SimgmcError
from simgmc.core.pictures import write_picture
from simgmc.network.validation.validate import FileReport

FORMATS = (".png", ".pdf", ".svg")


def check_place(path: str | Path) -> None:
    """Refuse a picture's path in a folder that does not exist, or of a format that is not drawn."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise SimgmcError(f"{str(path)!r}: a picture's name must end in one of {', '.join(FORMATS)}")
    if "\0" in str(path) or not path.parent.is_dir():
        raise SimgmcError(f"{str(path)!r}: there is no folder {str(path.parent)!r} to draw it in")


def draw(report: FileReport, path: str | Path) -> None:
    """Write a picture of one measured file: simulated over measured seconds on the left, the
    relative errors by collective and library on the right."""
    check_place(path)
    # Only pictures need it, and it takes a second to load.
    import matplotlib
    from matplotlib import pyplot

    matplotlib.use("Agg")

    groups: dict[tuple[str, str], list] = {}
    for row in report.rows:
        groups.setdefault((row.library, row.collective), []).append(row)
    order = sorted(groups, key=lambda key: (key[0] != "nccl", key[1] != "allreduce", key))
    colours = dict(zip(order, [pyplot.get_cmap("tab20")(place % 20) for place in range(40)]))
    figure, (times, errors) = pyplot.subplots(1, 2, figsize=(7.2, 3.6), width_ratios=(1, 1.25), layout="constrained")
    seconds = [value for row in report.rows for value in (row.measured, row.simulated)]
    span = (min(seconds) * 0.8, max(seconds) * 1.25)
    times.plot(span, span, color="0.6", linewidth=0.8, zorder=0)
    for place, key in enumerate(order):
        rows = groups[key]
        star = key == ("nccl", "allreduce")
        # Where the network's speed was not stated, the marks are hollow.
        face = [colours[key] if row.stated else "white" for row in rows]
        style = {
            "edgecolors": [colours[key]],
            "facecolors": face,
            "s": 20 if star else 9,
            "marker": "D" if star else "o",
            "linewidths": 0.7,
        }
        times.scatter([row.measured for row in rows], [row.simulated for row in rows], zorder=3 if star else 2, **style)
        errors.scatter([100 * row.error for row in rows], [place] * len(rows), **style)
    times.set(xscale="log", yscale="log", xlim=span, ylim=span, xlabel="measured, s", ylabel="simulated, s")
    errors.axvspan(-5, 5, color="0.9", zorder=0, linewidth=0)
    errors.axvline(0, color="0.6", linewidth=0.8, zorder=0)
    errors.set_yticks(range(len(order)), [f"{library} {collective}" for library, collective in order], fontsize=7)
    errors.invert_yaxis()
    errors.set_xlabel("error, % (hollow: network speed not stated)", fontsize=8)
    try:
        write_picture(figure, path)
    finally:
        pyplot.close(figure)
