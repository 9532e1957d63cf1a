"""Trainers: they run workers' programs on a workload, all workers at once (stacked) or each by itself, in the
order that the simulated clock decides. May import algorithms, compression, mixing, costs, workloads and core.
"""
