"""One file for each verb of the command line. May import every other room."""
