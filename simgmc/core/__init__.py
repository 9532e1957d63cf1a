"""What every room may use: errors that a user reads in one line, registries of named parts, units, seeded
randomness, files from outside, the terminal. Imports nothing of simgmc outside this folder.
"""
