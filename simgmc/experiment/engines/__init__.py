"""Where the trainings of a run are computed: in this process one after another, in several processes side by side.
May import the plan and the trainings of this room, and the rooms above it.
"""
