"""The files of a run directory: written atomically, read with their damage named, locked while a run writes. Each
row of a table is a dataclass whose fields are its columns. May import costs and core.
"""
