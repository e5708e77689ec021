"""Runs: their identity, how they are carried out, and the records they leave."""
