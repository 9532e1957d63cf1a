"""What runs are measured by: an accuracy, a loss, a gap, or a metric of one's own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Measure:
    """What a run is measured by: test accuracy, or a loss, a gap or a distance, of which less is better."""

    column: str
    text: str
    higher_is_better: bool
    name: str
    """As ``report.metric`` calls it."""
    share: bool = False
    """Whether it is a share, told in percent."""
    log: bool = False
    """Whether it is drawn on a logarithmic axis whatever its values."""

    @property
    def own(self) -> bool:
        """Whether it is the user's, of which nothing is known but its name and direction."""
        return ":" in self.column

    def reached(self, values: np.ndarray, target: float) -> np.ndarray:
        """Where the target is met (false where the value is unknown)."""
        return values >= target if self.higher_is_better else values <= target

    def number_text(self, value: float) -> str:
        """A value as people read it: ``80 %`` for an accuracy, ``0.12`` for a loss."""
        return f"{100 * value:.4g} %" if self.share else f"{value:.3g}"

    def value_text(self, value: float) -> str:
        """A value in a sentence: ``80 %`` of an accuracy, else with its name: ``loss 0.12``, ``top-5 90 %``."""
        return self.named(self.number_text(value))

    def named(self, text: str) -> str:
        """A value's text in a sentence: with the measure's name, unless it is the accuracy."""
        return text if self.column == "test_accuracy" else f"{self.name} {text}"


ACCURACY = Measure("test_accuracy", "test accuracy", True, "accuracy", share=True)
LOSS = Measure("test_loss", "test loss", False, "loss")
GAP = Measure("gap", "gap F(w) − F*", False, "gap", log=True)
DISTANCE = Measure("distance", "distance to the optimum", False, "distance", log=True)
OTHERS = (
    Measure("error", "test error", False, "error"),
    Measure("top_5", "top-5 accuracy", True, "top-5", share=True),
    Measure("macro_f1", "macro F1", True, "macro-f1", share=True),
    Measure("perplexity", "perplexity", False, "perplexity"),
    Measure("bits_per_token", "bits per token", False, "bits-per-token"),
)
MEASURES = {measure.name: measure for measure in (ACCURACY, LOSS, GAP, DISTANCE, *OTHERS)}


def measure_of(metric: str, higher_is_better: bool | None = None) -> Measure:
    """The measure that ``report.metric`` names: a known one, or one's own by its import path, with its direction."""
    if metric in MEASURES:
        return MEASURES[metric]
    name = metric.rpartition(":")[2]
    return Measure(metric, name.replace("_", " "), bool(higher_is_better), name)
