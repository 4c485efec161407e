"""The topics that there should be: planned, made, pruned."""
