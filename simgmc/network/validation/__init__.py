"""The simulation held against exact cases and published measurements (``simgmc validate``). May import every other
part of this room, costs and core.
"""
