"""What files of networks may look like: the text that ``simgmc list topologies NAME`` shows."""

UNITS = """\
Quantities have their unit in the value (bandwidth "100 Mbit/s", latency "5 ms") or in the name
(bandwidth_mbit_s, also bit_s kbit_s gbit_s tbit_s bytes_s kbytes_s mbytes_s gbytes_s; latency_ms, also ns us s;
round_trip_ms or rtt_ms: half of it one way). A bare number under a name without a unit is refused, and so is an
attribute that is nearly one of these, or that seems to say of a link what it lacks (capacity, delay)."""

FILE_FORMATS = f"""\
{UNITS}

.graphml, .xml  GraphML. Of edges: bandwidth and latency as above, LinkSpeedRaw (bit/s, Internet Topology Zoo).
                Defaults of keys, edges in nested graphs, an edge's own direction, ports (places on their node)
                and several edges between two nodes are read as the format says; hyperedges are refused.
                Undirected edges count both ways. Of nodes: label, Latitude and Longitude (degrees), site (a
                group for two-level).
.gml            GML, with the same names. A node is called by its label where that is its alone, else by its id.
.xml            a SimGrid platform: zones (Full, Floyd, Dijkstra, Cluster with cabinets, host_links, backbone) and
                clusters (FLAT, TORUS, FAT_TREE, DRAGONFLY), routes, zoneRoutes and those that bypass them, links
                SHARED (one capacity for both directions), SPLITDUPLEX (each its own), FATPIPE (its whole
                bandwidth for every flow; it may fail, but not change). Routes are as the file gives them, found
                as SimGrid 3.32 and 4 find them; name the hosts with nodes = [...]. What else it holds (Vivaldi,
                Wifi, traces, peers ...) is refused. A loopback is of no account: no host sends to itself.
anything else   an edge list in CSV: columns source, destination, bandwidth, latency; a row is one direction.

A link without a latency takes the distance of its nodes' coordinates at 2e8 m/s (the speed of light in fibre),
else the topology's latency; one without a bandwidth the topology's. Links from a node to itself carry nothing.
Nodes called worker0, worker1 ..., server are the hosts; hosts do not forward. Examples:
simgmc/network/data/examples."""

GEO_TABLES = f"""\
{UNITS}

A table is a CSV file with columns sender, receiver, round_trip_ms, bandwidth_mbit_s, a row per ordered pair of
sites; or a matrix of round trips: the sites in the first line and column, the unit in the corner
(round_trip_ms, rtt_ms, latency_ms), bandwidth = "..." beside it. Hosts of two sites use the row of their pair,
hosts of one site the row of that site to itself where there is one. A pair given twice is refused, one that is
given one way too unless symmetric = true. Lines that begin with # are comments. Examples:
simgmc/network/data/examples."""

HOME_TABLES = """\
A table is a CSV file with columns line, down_mbit_s, up_mbit_s, round_trip_ms, homes (other units as in
down_kbit_s, or within the values: down, "8 Mbit/s"). homes: how many of the hosts in a row have this line, or
its share of them."""
