"""What training minimises: losses by name, or the user's own."""
