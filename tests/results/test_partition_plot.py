"""The picture of who holds what: all samples are drawn, under the right label, at any number of workers."""

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.patches import Rectangle, StepPatch

from simgmc.results.directory.partition_table import PartitionTable
from simgmc.results.figures import panels
from simgmc.results.figures.partition_plot import partition_figures


def drawn(counts):
    with panels.style():
        (figure,) = partition_figures([PartitionTable("dirichlet (alpha 0.1), some workers", counts)])
        FigureCanvasAgg(figure).draw()
    return figure


def heights_and_tops(axis, labels):
    """(workers, labels) of the stacks that are drawn, and (workers,) where the last ends: of bars, or of outlines."""
    outlines = [patch.get_data() for patch in axis.patches if isinstance(patch, StepPatch)]
    if outlines:
        return np.array([one.values - one.baseline for one in outlines]).T, outlines[-1].values
    bars = [patch for patch in axis.patches if isinstance(patch, Rectangle)]
    heights = np.array([bar.get_height() for bar in bars]).reshape(labels, -1).T
    return heights, np.array([bar.get_y() + bar.get_height() for bar in bars]).reshape(labels, -1)[-1]


@pytest.mark.parametrize("workers", [8, 100])
def test_a_stack_for_each_worker_holds_its_samples_by_label(workers):
    counts = np.random.default_rng(0).integers(0, 50, (workers, 10))
    (axis,) = drawn(counts).axes
    heights, tops = heights_and_tops(axis, 10)
    np.testing.assert_array_equal(heights, counts)
    np.testing.assert_array_equal(tops, counts.sum(axis=1))
    assert len({patch.get_facecolor() for patch in axis.patches}) == 10


def test_thousands_of_workers_take_a_shape_for_each_label():
    (axis,) = drawn(np.random.default_rng(0).integers(0, 50, (4096, 10))).axes
    assert len(axis.patches) == 10


def test_many_labels_are_a_map_under_the_sizes():
    counts = np.random.default_rng(0).integers(0, 5, (8, 100))
    sizes, labels, scale = drawn(counts).axes
    assert [bar.get_height() for bar in sizes.patches] == counts.sum(axis=1).tolist()
    (image,) = labels.images
    np.testing.assert_array_equal(image.get_array().filled(0), counts.T)


def test_sizes_that_differ_are_written_on_the_bars():
    figure = drawn(np.array([[1200], [30], [700]]))
    texts = {text.get_text() for text in figure.axes[0].texts}
    assert {"1,200", "30", "700"} <= texts


@pytest.mark.parametrize(
    ("counts", "says"),
    [
        (
            [[5, 5], [5, 5]],
            "each holds 10 samples; the median worker in effect sees 2 of 2 labels; "
            "total variation from the whole data 0.00 on average",
        ),
        (
            [[8, 0], [0, 2]],
            "from 2 to 8 samples, the largest 4 times the smallest; the median worker in effect sees 1 of 2 labels; "
            "total variation from the whole data 0.50 on average",
        ),
        ([[7], [7]], "each holds 7 samples"),
    ],
)
def test_the_finding_counts_samples_and_labels(counts, says):
    assert PartitionTable("x", np.array(counts)).finding() == says


@pytest.mark.parametrize("workers", [2, 8, 300])
@pytest.mark.parametrize("labels", [1, 10, 100])
def test_nothing_is_written_outside_the_figure(workers, labels):
    figure = drawn(np.random.default_rng(1).integers(1, 30, (workers, labels)))
    box = figure.get_tightbbox(figure.canvas.get_renderer())
    width, height = figure.get_size_inches()
    assert box.x0 > -0.05 and box.y0 > -0.05 and box.x1 < width + 0.05 and box.y1 < height + 0.05
