"""Flows that share links by max-min fairness."""
