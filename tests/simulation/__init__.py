"""Simulated studies whose truth is known, through the functions that make the tables: ``scripts/simulate``."""
