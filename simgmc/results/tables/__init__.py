"""Tables for the terminal. May import the directory, the series and core."""
