"""What Python alone can ask for: runs with objects that are handed over, and methods tried out without a scenario.
May import the run of this room, and the rooms above it.
"""
