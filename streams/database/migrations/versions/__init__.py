"""The revisions, one per file, in the order of their numbers."""
