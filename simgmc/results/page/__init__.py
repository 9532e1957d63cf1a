"""Pages of HTML: one file each, that asks nothing of a network. May import directory, series, tables and figures."""
