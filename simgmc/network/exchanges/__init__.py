"""One exchange: which flows it has and what each waits for (``schedule``), laid onto the links of a network
(``placement``), carried out there (``execution``), and what it moved and where time went (``accounts``). Collectives,
gossip and messages between peers are all of this form. May import conditions, flows and topology.
"""
