"""Data sets: those published, those of one's own, and the minibatches that workers draw from them. May import seeding
and core.
"""
