"""SimGrid's side of network_flows.py: run by an interpreter that has its Python binding.

Reads a workload as JSON from standard input (a ring or a list of flows on a star) and
prints the CPU seconds of the simulation and the simulated end as JSON.
"""

import json
import sys
import time

import simgrid


def main():
    work = json.load(sys.stdin)
    engine = simgrid.Engine([sys.argv[0]])
    for key, value in {
        "network/model": "CM02", "network/TCP-gamma": "0", "network/crosstraffic": "0",
        "network/bandwidth-factor": "1.0",
        "network/latency-factor": "1.0", "network/weight-S": "0.0", "network/optim": work.get("optim", "Full"),
    }.items():  # fmt: skip
        simgrid.Engine.set_config(f"{key}:{value}")
    zone = simgrid.NetZone.create_star_zone("star")
    hosts = []
    for number in range(work["hosts"]):
        host = zone.create_host(f"h{number}", 1e9)
        link = zone.create_split_duplex_link(f"l{number}", work["bandwidth"])
        link.set_latency(work["latency"] / 2)
        zone.add_route(host.netpoint, None, None, None, [simgrid.LinkInRoute(link, simgrid.LinkInRoute.UP)], True)
        hosts.append(host)
    zone.seal()

    def ring():
        count = len(hosts)
        for _ in range(2 * (count - 1)):
            simgrid.Comm.wait_all(
                [simgrid.Comm.sendto_async(hosts[i], hosts[(i + 1) % count], work["chunk"]) for i in range(count)]
            )

    def random():
        under_way = []
        for start, source, destination, nbytes in work["flows"]:
            simgrid.this_actor.sleep_until(start)
            under_way.append(simgrid.Comm.sendto_async(hosts[source], hosts[destination], int(nbytes)))
        simgrid.Comm.wait_all(under_way)

    simgrid.Actor.create("driver", hosts[0], ring if "chunk" in work else random)
    begun = time.process_time()
    engine.run()
    print(json.dumps({"seconds": time.process_time() - begun, "end": simgrid.Engine.clock}))


main()
