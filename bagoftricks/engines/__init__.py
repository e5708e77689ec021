"""Engines: where the runs of a study are carried out. The same command on a laptop and on a cluster."""
