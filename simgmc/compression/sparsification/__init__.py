"""Compressors that send few coordinates."""
