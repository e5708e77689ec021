"""Corruptions, perturbations, protocols and scores."""
