"""Searches for the best settings: what is given up early, what an earlier sweep has found already, what came out best.
May import the trainings of this room and the rooms above it.
"""
