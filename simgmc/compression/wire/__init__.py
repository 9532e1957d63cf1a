"""Wire formats: bits, codes, indices and values, and their lengths."""
