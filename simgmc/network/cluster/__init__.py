"""The cluster: workers that compute, compress and exchange, simulated with simpy; when each thing happens."""
