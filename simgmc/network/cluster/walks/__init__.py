"""Rounds without events, walked on many networks at once where that is provably exact."""
