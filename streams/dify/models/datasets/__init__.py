"""Datasets, their documents and their pipelines."""
