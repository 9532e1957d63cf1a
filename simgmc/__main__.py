"""``python -m simgmc``."""

from simgmc.cli import main

main(prog_name="simgmc")
