"""What real transports cost, fitted to measured exchanges. May import conditions, costs and core."""
