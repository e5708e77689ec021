"""Evaluations on corrupted images: what is asked for, the images, the counts, and their place in a run's record."""
