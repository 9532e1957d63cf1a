"""Compressors that send few coordinates, and the messages that name them. Kept values may be coded by
a quantiser. May import the messages of this room, quantisation, the wire formats, costs and core.
"""
