"""Runs of workflows, and the executions of their nodes."""
