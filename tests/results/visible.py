"""What of a figure can be seen."""

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text


def shown(figure):
    """Visible texts that say something, with their boxes in pixels."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    outside = []
    for axes in figure.axes:
        for axis, (low, high) in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, sorted(axes.get_ylim()))):
            slack = 1e-9 * (high - low)
            ticks = [*axis.get_major_ticks(), *axis.get_minor_ticks()]
            outside += [
                label
                for tick in ticks
                for label in (tick.label1, tick.label2)
                if not low - slack <= tick.get_loc() <= high + slack
            ]
    return [(text, text.get_window_extent(renderer)) for text in texts if not any(text is other for other in outside)]
