"""Wire formats: how bits, indices and numbers are written, and how long that is. Every format encodes and decodes bit
for bit; sizes are the lengths of these encodings. May import core.
"""
