"""Topologies: hosts, switches, links, and the routes between them."""
