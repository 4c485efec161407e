"""Adds the rows of a CSV file to a document as segments."""
