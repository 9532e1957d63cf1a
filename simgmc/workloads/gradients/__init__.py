"""Gradients of many workers at once: the plain way, the faster routes and their proof, devices, precision, and the
memory that they take. May import seeding and noise, compression and core.
"""
