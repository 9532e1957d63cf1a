"""What is looked at before a run begins: compute times, memory, bytes and simulated time, mistakes in the scenario."""
