"""Pictures that a command writes where it was told to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from simgmc.core.errors import SimgmcError, reason

if TYPE_CHECKING:  # whoever has a figure has loaded it
    from matplotlib.figure import Figure


def write_picture(figure: Figure, path: str | Path) -> None:
    """Write a figure, its axes without a frame. Raises SimgmcError where that cannot be."""
    for axes in figure.axes:
        axes.tick_params(labelsize=7)
        axes.spines[["top", "right"]].set_visible(False)
    try:
        figure.savefig(path, dpi=180)
    except OSError as error:
        raise SimgmcError(f"{path}: cannot be written: {reason(error)}") from None
