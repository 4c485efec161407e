"""`make bench`: what the pipeline's promises of speed and size are measured by, on real servers."""
