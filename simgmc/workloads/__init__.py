"""What every worker computes: data sets, who holds which samples, models, problems with known optima, and the engine
that takes their gradients. The catalogues are plain Python, so that scenarios are checked without loading torch.
May import core, costs, compression, mixing and network.
"""
