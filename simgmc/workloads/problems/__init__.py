"""Problems whose optimum is known: quadratics and convex classification. May import data and partitions, compression
and core.
"""
