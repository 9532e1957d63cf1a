"""Which worker holds which samples: drawn by a rule, or read from a file. May import core."""
