"""Reads the files of a folder as a worker does, and measures it."""
