"""Gradients of many workers at once: the routes, precision, devices, and the memory that they take."""
