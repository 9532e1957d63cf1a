"""What makes a cluster imperfect: stragglers, overheads, changes of links, failures, crashes."""
