"""Run directories, summaries and plots. Nothing is imported here: plotting libraries load when they are used."""
