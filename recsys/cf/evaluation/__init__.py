"""Metrics of models and baselines on the same users, with their uncertainty."""
