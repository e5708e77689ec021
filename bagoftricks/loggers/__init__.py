"""Loggers: one file each, which sends the figures of a training elsewhere while it runs."""
