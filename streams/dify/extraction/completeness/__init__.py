"""Checks that the text of a file is whole, by a crude count of what the file holds."""
