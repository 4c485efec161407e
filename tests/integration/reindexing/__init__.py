"""Changes of the index of documents that are split already."""
