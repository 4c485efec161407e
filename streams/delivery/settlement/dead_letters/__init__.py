"""The dead letters of one pool: their records and values, `on_dead`, and records that no version can read."""
