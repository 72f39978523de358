"""Trainers: frozen configuration in, frozen FitResult out."""
