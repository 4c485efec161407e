"""Records that no library of ours would write: any bytes in any place of a record."""
