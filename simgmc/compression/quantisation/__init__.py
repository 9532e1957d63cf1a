"""Compressors that send every coordinate with few bits."""
