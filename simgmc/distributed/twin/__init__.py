"""A network of namespaces on one machine, real processes on it, and the same scenario simulated (``simgmc twin``)."""
