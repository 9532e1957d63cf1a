"""The simulation held against exact cases and published measurements (``simgmc validate``). May import collectives,
conditions, flows and topology, costs and core.
"""
