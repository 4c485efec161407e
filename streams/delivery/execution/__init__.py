"""One run of a handler: its session, its limits, its transaction."""
