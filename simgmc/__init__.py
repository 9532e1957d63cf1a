"""Real gradients, real messages, simulated networks."""
