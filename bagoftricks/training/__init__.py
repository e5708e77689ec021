"""The trainer, its parameters and its state."""
