"""What the header says of how a training takes the model and its workers."""

from __future__ import annotations

from collections.abc import Sequence


def of_unreached(names: Sequence[str]) -> list[str]:
    """Parameters that got no gradient on the first minibatch: a step leaves alone what has none."""
    if not names:
        return []
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    them = "it" if len(names) == 1 else "them"
    return [
        f"no gradient reaches {shown} on the first minibatch: without one neither momentum nor weight decay "
        f"moves {them}"
    ]


def of_outside(names: Sequence[str]) -> list[str]:
    """What a pass may change that is no worker's own."""
    if not names:
        return []
    shown = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return [
        f"a pass may change {shown}, outside the module: all workers have that in common, and trainings one after "
        "another go on with it; what the module holds itself (self.name) is each worker's own"
    ]


def of_statistics(numbers: int, workers: int) -> list[str]:
    """How the workers' running statistics, so many numbers of each, come together."""
    if not numbers or workers == 1:
        return []
    return [
        f"running statistics ({numbers} numbers) are each worker's own; for the evaluated model they are "
        "averaged, with the variance between workers; that costs no bytes"
    ]


def of_weights(held: Sequence[int], batch: int, by_samples: bool) -> list[str]:
    """What workers weigh that hold unequal numbers of samples."""
    if len(set(held)) == 1:
        return []
    sizes = f"workers hold {min(held)} to {max(held)} samples and "
    weights = "weigh by them in averages (a mixing or a server that takes one after the other weighs all equally)"
    lines = [sizes + (weights if by_samples else "all weigh the same")]
    few = sum(one < batch for one in held)
    if few:
        lines.append(f"{few} of them hold less than a batch: each takes all that it holds in every gradient")
    return lines
