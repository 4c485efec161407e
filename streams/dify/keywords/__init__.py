"""The keywords of economy datasets."""
