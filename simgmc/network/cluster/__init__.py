"""The cluster: workers that compute, compress and exchange, simulated with simpy; when each thing happens. May import
the parts of this room before it (topology, flows, conditions, exchanges, collectives, shortcuts), costs and core.
"""
