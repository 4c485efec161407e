"""Vector databases that are rented from TiDB Cloud."""
