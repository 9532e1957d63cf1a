"""Compressors that send every coordinate with few bits: signs, levels, lattice colours. They code numbers in groups
that share a scale. May import the messages of this room, its wire formats and core.
"""
