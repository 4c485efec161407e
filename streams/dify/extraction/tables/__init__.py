"""Reads tables: CSV, and Excel since 2007 and before. One part per row, which repeats the column names."""
