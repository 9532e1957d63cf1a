"""What files from outside say: tables, XML, graphs, and the measures of their links. They are read with bounds and
without trust; errors name file and line. May import the other parts of core.
"""
