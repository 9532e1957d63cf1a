"""The scenario file: what a user writes, validated before anything runs. Loads no torch.
May import training, workloads, network, algorithms, mixing, compression, costs and core.
"""

from simgmc.scenario.file import GridPoint, ScenarioFile
from simgmc.scenario.point import Scenario

__all__ = ["GridPoint", "Scenario", "ScenarioFile"]
