"""The numerics of collaborative filtering."""
