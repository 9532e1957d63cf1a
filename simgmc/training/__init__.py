"""Trainers: they run workers' programs on a workload, all workers at once (stacked) or each by itself (the clock decides
the order). May import algorithms, compression, mixing, costs, workloads and core.
"""
