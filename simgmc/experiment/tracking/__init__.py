"""Evaluations kept elsewhere too, as they come.
May import the trainings of this room and the rooms above it.
"""
