"""One run of a handler: its `Work`, its transaction and its time limits."""
