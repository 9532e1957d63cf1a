"""Real gradients, real messages, simulated networks."""

__version__ = "0.1.0"
