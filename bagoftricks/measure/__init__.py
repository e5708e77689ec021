"""Accuracy, speed and complexity of networks."""
