"""The files of a run directory: written atomically, read with their damage named, locked while a run writes."""
