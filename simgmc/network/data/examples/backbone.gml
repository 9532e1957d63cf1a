# Made up, in the form of the Internet Topology Zoo: speeds in bit/s, latency from the coordinates of both ends.
graph [
  directed 0
  Network "Made-up backbone"
  node [
    id 0
    label "Paris"
    Latitude 48.85
    Longitude 2.35
  ]
  node [
    id 1
    label "Bern"
    Latitude 46.95
    Longitude 7.45
  ]
  node [
    id 2
    label "K&#246;ln"
    Latitude 50.94
    Longitude 6.96
  ]
  edge [
    source 0
    target 1
    LinkSpeed "2.5"
    LinkSpeedUnits "G"
    LinkSpeedRaw 2500000000.0
  ]
  edge [
    source 1
    target 2
    LinkSpeedRaw 622000000.0
  ]
  edge [
    source 1
    target 2
    LinkSpeedRaw 155000000.0
  ]
  edge [
    source 0
    target 2
    LinkLabel "speed not published"
  ]
]
