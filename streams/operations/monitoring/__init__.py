"""Monitoring of all groups, topics and tables from outside the workers: `streams exporter` and `streams top`."""
