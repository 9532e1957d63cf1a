"""What a round cost, and how that is kept: the one thing that numerics and cluster say to each other. Plain numpy.
May import core.
"""
