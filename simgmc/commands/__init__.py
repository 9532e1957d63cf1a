"""What each verb of the command line does, a file for each, and :mod:`~simgmc.commands.verbs`.
May import every other room.
"""
