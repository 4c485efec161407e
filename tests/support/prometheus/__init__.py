"""Prometheus: the queries of this project, and a server to try them."""
