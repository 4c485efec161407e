"""Events of datasets, documents and segments."""
