"""Brings the index into agreement with the rows of a document that was split before.

The rows decide: a dataset's technique and model, whether a document and a segment are enabled. So events may be
repeated or swapped.
"""
