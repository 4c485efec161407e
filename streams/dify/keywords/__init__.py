"""Keywords of economy datasets."""
