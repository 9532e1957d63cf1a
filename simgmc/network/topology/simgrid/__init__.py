"""SimGrid platforms (simgrid.org, version 4 of the format): the subset that networks here have.

Zones of Full, Floyd and Dijkstra routing, zones of hosts with links up and down (Cluster), clusters that are flat, a
torus, a fat tree or a dragonfly, nested, with routes, zoneRoutes and those that bypass them; links SHARED (one capacity
for both directions), SPLITDUPLEX (each its own) and FATPIPE (its whole bandwidth for every flow). Routes are those that
SimGrid takes, ties included, not the shortest by latency.
"""
