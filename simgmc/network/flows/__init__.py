"""Flows that share links by max-min fairness, from event to event. May import topology and core."""
