"""Exchanges solved as array recurrences, without events, and the proofs of when that is exact. May import
exchanges and what comes before them.
"""
