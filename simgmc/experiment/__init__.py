"""The story of a run (:mod:`~simgmc.experiment.run`): what is trained, on which clusters it is put, what is written.
May import every room above it: scenario, results, training, workloads, network, algorithms, costs, core.
"""
