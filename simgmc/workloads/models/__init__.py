"""Models by name, and those of one's own by import path. May import seeding and core."""
