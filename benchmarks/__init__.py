"""`make bench`: measures the promised speed and size of the pipeline on real servers."""
