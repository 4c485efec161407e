"""Lag, health, and whether the topics on the cluster are what the catalogue says."""
