"""Alerts about the pipeline itself: what exceeds a threshold, and the notices about it by mail and webhook."""
