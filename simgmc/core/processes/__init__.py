"""Work in processes beside this one. May import the other parts of core."""
