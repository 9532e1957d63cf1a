"""Rounds solved as array recurrences, and the proofs of when that is exact."""
