"""What is looked at before a run begins: compute times, memory, bytes and simulated time, mistakes in the scenario.
Nothing is written yet. May import the plan and the trainings of this room, and the rooms above it.
"""
