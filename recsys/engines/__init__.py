"""Engines beyond one machine: how sessions and processes of them are started, and how they read the store."""
