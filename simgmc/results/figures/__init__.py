"""Figures, drawn with matplotlib; :data:`~simgmc.results.figures.plots.FIGURES` lists those of a run. May import the
directory, the series, network and core.
"""
