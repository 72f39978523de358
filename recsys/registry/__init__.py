"""Immutable model versions, the catalogue of them, and promotion."""

from recsys.registry.catalogue import Registry
from recsys.registry.serving import ServingModel, load_champion, load_model

__all__ = ["Registry", "ServingModel", "load_champion", "load_model"]
