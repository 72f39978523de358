"""Choosing hyperparameters on the validation split."""
