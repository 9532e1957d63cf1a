"""What files from outside say: tables, XML, graphs, and the measures of their links."""
