"""Topologies: hosts, switches, links, and the routes between them; by name, from tables and from files. Lowest in this
room: may import core alone.
"""
