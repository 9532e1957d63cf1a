"""What a run keeps and shows: its directory, series read back from it, tables and figures. Imports no torch.
May import scenario, network, costs and core.
"""
