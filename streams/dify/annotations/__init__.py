"""The annotations of apps: their index, the settings that name it, imports, and the jobs that a person waits for."""
