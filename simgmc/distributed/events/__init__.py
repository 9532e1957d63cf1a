"""Asynchronous trainings on real processes: every rank at its own pace, the order of events kept."""
