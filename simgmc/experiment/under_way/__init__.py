"""A training under way: round by round or event by event, evaluated when it is due, saved now and then. Knows
nothing of plans. May import the rooms above this one.
"""
