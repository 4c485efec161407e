"""The web port of a worker: health, metrics, and the level of the log."""
