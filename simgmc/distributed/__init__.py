"""The same programs by real processes: one process a worker, on any process group of torch.distributed.

    torchrun --nproc-per-node 4 -m simgmc.distributed SCENARIO

May import every room above it: experiment, results, scenario, training, workloads, network, mixing, compression,
costs, core.
"""
