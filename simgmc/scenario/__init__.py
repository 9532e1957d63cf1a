"""The scenario file: what a user writes, validated before anything runs."""

from simgmc.scenario.file import GridPoint, ScenarioFile
from simgmc.scenario.point import Scenario

__all__ = ["GridPoint", "Scenario", "ScenarioFile"]
