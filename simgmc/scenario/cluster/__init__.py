"""The table ``[cluster]``: the network, the collective, how long computing takes, and what makes all that imperfect."""
