"""The simulation held against exact cases and published measurements."""
