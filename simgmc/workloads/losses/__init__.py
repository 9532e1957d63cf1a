"""What training minimises: losses by name, or the user's own. May import data and core."""
